// The photos in justified rows under month headings, changed in place: an
// element once made for a photo stays the same element until the photo goes.

import { justify } from './justify.js';
import { timeOf } from './store.js';
import { Tile } from './tile.js';
import { count } from './words.js';

const GAP = 6;

/** The month in the viewer's own calendar, as a key. */
function monthOf(photo) {
  const time = timeOf(photo);
  if (!time) return '';
  const date = new Date(time);
  return `${date.getFullYear()}-${date.getMonth()}`;
}

const monthName = (photo) => (timeOf(photo)
  ? new Date(timeOf(photo)).toLocaleDateString(undefined, { month: 'long', year: 'numeric' }) : 'Some day');

class Month {
  constructor(photo, key) {
    this.key = key;
    this.tiles = [];
    this.element = document.createElement('section');
    this.element.className = 'month';
    const heading = document.createElement('h2');
    heading.id = `month-${key}`;
    heading.textContent = monthName(photo);
    this.count = document.createElement('span');
    this.count.className = 'month-count';
    this.box = document.createElement('div');
    this.box.className = 'rows';
    const head = document.createElement('header');
    head.append(heading, this.count);
    this.element.append(head, this.box);
    this.element.setAttribute('aria-labelledby', heading.id);
  }
}

export class Grid extends EventTarget {
  #root;
  #store;
  #tiles = new Map(); // photo id → Tile
  #months = new Map(); // key → Month
  #order = []; // tiles as shown
  #current = null; // the tile Tab comes to
  #visited = false;
  #width = 0;
  #first = true;
  #scheduled = false;

  /** Emits `open` and `remove` with the photo's id. */
  constructor(root, store) {
    super();
    this.#root = root;
    this.#store = store;
    new ResizeObserver(() => {
      const width = Math.floor(root.clientWidth);
      if (width === this.#width) return;
      this.#width = width;
      root.classList.add('resizing'); // following the window is no occasion for motion
      this.#lay();
      requestAnimationFrame(() => requestAnimationFrame(() => root.classList.remove('resizing')));
    }).observe(root);
    root.addEventListener('click', (event) => {
      const id = event.target.closest('.tile')?.dataset.id;
      if (id) this.#tell('open', id);
    });
    root.addEventListener('focusin', (event) => {
      const tile = this.#tiles.get(event.target.closest('.tile')?.dataset.id);
      if (!tile) return;
      this.#visited = true;
      this.#makeCurrent(tile);
    });
    root.addEventListener('keydown', (event) => this.#key(event));
  }

  #tell(type, id) {
    this.dispatchEvent(new CustomEvent(type, { detail: id }));
  }

  /** Brings the page in line with the store, once a frame however many changes come. */
  refresh() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden tab has no frames, but its page must be right when it is looked at.
    const soon = document.hidden ? setTimeout : requestAnimationFrame;
    soon(() => { this.#scheduled = false; this.#reconcile(); });
  }

  #reconcile() {
    const photos = this.#store.photos;
    const had = this.#current && this.#order.indexOf(this.#current);
    const hadFocus = this.#current?.button === document.activeElement;

    const here = new Set(photos.map((photo) => photo._id));
    for (const [id, tile] of this.#tiles) {
      if (here.has(id)) continue;
      this.#tiles.delete(id);
      tile.leave();
    }
    for (const month of this.#months.values()) month.tiles = [];
    const months = [];
    this.#order = photos.map((photo) => {
      let tile = this.#tiles.get(photo._id);
      if (!tile) {
        tile = new Tile(photo, this.#store);
        if (!this.#first) tile.element.classList.add('entering');
        this.#tiles.set(photo._id, tile);
      } else if (tile.photo !== photo) {
        tile.update(photo);
      }
      const key = monthOf(photo);
      let month = this.#months.get(key);
      if (!month) this.#months.set(key, month = new Month(photo, key));
      if (!month.tiles.length) months.push(month);
      month.tiles.push(tile);
      return tile;
    });
    for (const [key, month] of this.#months) {
      if (month.tiles.length) continue;
      this.#months.delete(key);
      setTimeout(() => month.element.remove(), this.#months.size ? 0 : 220);
    }
    inOrder(this.#root, months.map((month) => month.element));
    for (const month of months) {
      inOrder(month.box, month.tiles.map((tile) => tile.element));
      const text = month.tiles.length > 1 ? count(month.tiles.length, 'photo') : '';
      if (month.count.textContent !== text) month.count.textContent = text;
    }
    this.#first = false;
    this.#lay();

    if (this.#current && !this.#tiles.has(this.#current.photo._id)) {
      const next = this.#order[Math.min(had, this.#order.length - 1)];
      this.#current = null;
      if (next) this.#makeCurrent(next);
      if (next && hadFocus) next.button.focus({ preventScroll: true });
    }
    // Until somebody has been at a photo, Tab comes to the first.
    if (this.#order.length && (!this.#current || !this.#visited)) this.#makeCurrent(this.#order[0]);
  }

  #lay() {
    if (!this.#width) this.#width = Math.floor(this.#root.clientWidth);
    if (!this.#width) return;
    const target = Math.min(250, Math.max(116, 60 + this.#width * 0.16));
    for (const { tiles, box, element } of this.#months.values()) {
      const { boxes, height, width } = justify(tiles.map((tile) => tile.ratio), this.#width, target, GAP);
      element.style.width = `${width}px`; // months of a few photos share a row
      box.style.height = `${height}px`;
      tiles.forEach((tile, i) => tile.place(boxes[i]));
    }
  }

  #makeCurrent(tile) {
    if (this.#current === tile) return;
    if (this.#current) this.#current.button.tabIndex = -1;
    this.#current = tile;
    tile.button.tabIndex = 0;
  }

  /** Puts the keyboard on a photo, as after looking at it in full. */
  focus(id) {
    const tile = this.#tiles.get(id) ?? this.#current;
    if (!tile) return;
    this.#makeCurrent(tile);
    tile.button.focus({ preventScroll: true });
    tile.element.scrollIntoView({ block: 'nearest' });
  }

  /** The nearest tile in the row above or below. */
  #beside(at, step) {
    const from = this.#order[at].button.getBoundingClientRect();
    const middle = from.left + from.width / 2;
    let best = null;
    let row = null;
    for (let i = at + step; i >= 0 && i < this.#order.length; i += step) {
      const box = this.#order[i].button.getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 1) continue;
      if (row === null) row = box.top;
      if (Math.abs(box.top - row) > 1) break;
      const off = Math.abs(box.left + box.width / 2 - middle);
      if (!best || off < best.off) best = { i, off };
    }
    return best ? best.i : at;
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !event.target.closest('.tile')) return;
    const at = this.#order.indexOf(this.#current);
    if (at < 0) return;
    const last = this.#order.length - 1;
    const moves = {
      ArrowRight: () => Math.min(last, at + 1),
      ArrowLeft: () => Math.max(0, at - 1),
      ArrowDown: () => this.#beside(at, 1),
      ArrowUp: () => this.#beside(at, -1),
      Home: () => 0,
      End: () => last,
    };
    if (moves[event.key]) {
      event.preventDefault();
      this.focus(this.#order[moves[event.key]()].photo._id);
    } else if (event.key === 'Delete') {
      event.preventDefault();
      this.#tell('remove', this.#current.photo._id);
    }
  }
}

/** Puts children into this order, moving only those that are new or out of place. */
function inOrder(parent, children) {
  let at = parent.firstElementChild;
  const stays = new Set(children);
  for (const child of children) {
    while (at && !stays.has(at)) at = at.nextElementSibling; // one that is leaving
    if (at === child) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
