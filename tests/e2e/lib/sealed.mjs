// Imported before a suite: it runs on sealed channels then.
import { kind } from './kind.mjs';

kind.sealed = true;
