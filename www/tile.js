// One photo in the grid. Its picture is fetched when it comes near the screen
// and let go of when it leaves.

const AT_ONCE = 6;
const wanted = new Set();
let loading = 0;

function pump() {
  while (loading < AT_ONCE && wanted.size) {
    const tile = [...wanted].at(-1); // the latest to come near is the one being looked at
    wanted.delete(tile);
    loading += 1;
    tile.load().finally(() => { loading -= 1; pump(); });
  }
}

const tiles = new WeakMap();
const nearby = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) tiles.get(target).near(isIntersecting);
  pump();
}, { rootMargin: '700px 0px' });

export class Tile {
  #store;
  #url = null;
  #near = false;
  #shown = null; // digest of the picture being shown

  constructor(photo, store) {
    this.#store = store;
    this.element = document.createElement('figure');
    this.element.className = 'tile';
    this.element.dataset.id = photo._id;
    this.button = document.createElement('button');
    this.button.type = 'button';
    this.button.className = 'tile-open';
    this.button.tabIndex = -1;
    this.image = document.createElement('img');
    this.image.decoding = 'async';
    this.image.draggable = false;
    this.image.onload = () => this.element.classList.add('loaded');
    this.caption = document.createElement('figcaption');
    this.caption.className = 'tile-caption';
    this.button.append(this.image);
    this.element.append(this.button, this.caption);
    tiles.set(this.element, this);
    this.update(photo);
    nearby.observe(this.element);
  }

  update(photo) {
    this.photo = photo;
    this.ratio = photo.width > 0 && photo.height > 0 ? Math.min(4, Math.max(0.4, photo.width / photo.height)) : 1;
    const alt = photo.caption || photo.name || 'Photo without a name';
    if (this.image.alt !== alt) this.image.alt = alt;
    if (this.caption.textContent !== (photo.caption ?? '')) this.caption.textContent = photo.caption ?? '';
    if (this.#url && this.#digest() !== this.#shown) this.load();
  }

  #digest() {
    const { thumb, original } = this.photo._attachments ?? {};
    return (thumb ?? original)?.digest ?? null;
  }

  near(isNear) {
    this.#near = isNear;
    if (isNear && !this.#url) wanted.add(this);
    if (!isNear) {
      wanted.delete(this);
      this.#drop();
    }
  }

  async load() {
    const digest = this.#digest();
    try {
      const blob = await this.#store.thumb(this.photo._id);
      if (!this.#near || digest !== this.#digest()) return;
      this.#drop();
      this.#shown = digest;
      this.#url = URL.createObjectURL(blob);
      this.image.src = this.#url;
    } catch (error) {
      if (error.name !== 'not_found') throw error;
      this.element.classList.add('missing'); // deleted meanwhile, or a document without a picture
    }
  }

  #drop() {
    if (!this.#url) return;
    URL.revokeObjectURL(this.#url);
    this.#url = null;
    this.image.removeAttribute('src');
    this.element.classList.remove('loaded', 'missing');
  }

  place({ x, y, width, height }) {
    const spot = `${x},${y},${width},${height}`;
    if (this.spot === spot) return;
    this.spot = spot;
    this.box = { x, y, width, height };
    const { style } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }

  leave() {
    nearby.unobserve(this.element);
    wanted.delete(this);
    this.#near = false;
    delete this.element.dataset.id;
    this.element.classList.replace('tile', 'tile-leaving');
    this.element.inert = true;
    setTimeout(() => { this.#drop(); this.element.remove(); }, 220);
  }
}
