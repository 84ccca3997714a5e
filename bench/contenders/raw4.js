// The floor with as many connections as Settee takes of a server: it leaves two of a browser's six to the page.
import { raw } from './raw.js';

export default raw(4);
