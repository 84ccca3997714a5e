// The same on sealed channels; what is different is told in lib/kind.mjs.
import './lib/sealed.mjs';
import './live-find.test.mjs';
