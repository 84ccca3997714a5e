// One photo in full: the original, its caption, and what can be done with it.

import { plain, day } from './words.js';
import { say, settle } from './say.js';

const $ = (id) => document.getElementById(id);
const SWIPE = 60; // pixels that count as one

export class Viewer extends EventTarget {
  #dialog = $('viewer');
  #stage = $('stage');
  #thumb = $('viewer-thumb');
  #original = $('viewer-original');
  #caption = $('viewer-caption');
  #field = $('caption-field');
  #store;
  #id = null;
  #at = -1;
  #urls = [];
  #turn = 0; // rises with every photo shown; late pictures of earlier ones are dropped

  /** Emits `remove` and `closed` with the photo's id. */
  constructor(store) {
    super();
    this.#store = store;
    $('viewer-close').onclick = () => this.#dialog.close();
    $('viewer-previous').onclick = () => this.#step(-1);
    $('viewer-next').onclick = () => this.#step(1);
    $('viewer-delete').onclick = () => this.#tell('remove');
    $('viewer-download').onclick = () => this.#download();
    this.#caption.onclick = () => this.#edit();
    this.#field.onblur = () => this.#save();
    this.#field.onkeydown = (event) => {
      event.stopPropagation(); // arrows move the cursor here
      if (event.key === 'Escape') this.#field.value = this.#store.get(this.#id)?.caption ?? '';
      if (event.key !== 'Escape' && (event.key !== 'Enter' || event.isComposing)) return;
      event.preventDefault();
      this.#caption.hidden = false;
      this.#caption.focus(); // which takes it from the field, and that saves
    };
    this.#dialog.addEventListener('cancel', (event) => {
      if (!this.#field.hidden) event.preventDefault(); // Escape left the field, not the photo
    });
    this.#dialog.addEventListener('keydown', (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === 'ArrowLeft') this.#step(-1);
      else if (event.key === 'ArrowRight') this.#step(1);
      else if (event.key === 'Delete') this.#tell('remove');
      else return;
      event.preventDefault();
    });
    this.#dialog.addEventListener('close', () => {
      const id = this.#id;
      if (id !== null) this.#forget();
      settle();
      if (id !== null) this.dispatchEvent(new CustomEvent('closed', { detail: id }));
    });
    this.#swipes();
  }

  #tell(type) {
    this.dispatchEvent(new CustomEvent(type, { detail: this.#id }));
  }

  open(id) {
    if (!this.#store.get(id)) return;
    this.#show(id);
    if (!this.#dialog.open) this.#dialog.showModal();
    settle();
    this.#stage.focus();
  }

  /** Leaves nothing of the photo on the page. */
  close() {
    if (this.#id === null) return;
    this.#forget();
    this.#dialog.close();
  }

  #forget() {
    this.#leave();
    this.#id = null;
    this.#original.alt = this.#field.value = '';
    for (const part of [this.#caption, $('viewer-facts'), $('viewer-place')]) part.textContent = '';
  }

  /** After a change in the store: new words under the same picture, or the next picture. */
  refresh() {
    if (this.#id === null) return;
    const photo = this.#store.get(this.#id);
    if (photo) {
      this.#at = this.#store.photos.indexOf(photo);
      this.#words(photo);
      return;
    }
    const next = this.#store.photos[Math.min(this.#at, this.#store.photos.length - 1)];
    if (next) this.#show(next._id);
    else this.#dialog.close();
  }

  #step(by) {
    const photo = this.#store.photos[this.#at + by];
    if (photo) this.#show(photo._id);
  }

  #leave() {
    if (!this.#field.hidden) this.#save();
    this.#turn += 1;
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
    for (const image of [this.#thumb, this.#original]) {
      image.removeAttribute('src');
      image.classList.remove('ready');
    }
    this.#stage.style.translate = '';
  }

  #show(id) {
    this.#leave();
    const photo = this.#store.get(id);
    this.#id = id;
    this.#at = this.#store.photos.indexOf(photo);
    $('viewer-problem').hidden = true;
    for (const image of [this.#thumb, this.#original]) {
      image.style.maxWidth = photo.width ? `${photo.width}px` : '';
      image.style.maxHeight = photo.height ? `${photo.height}px` : '';
    }
    this.#words(photo);
    this.#pictures(id, this.#turn);
  }

  async #pictures(id, turn) {
    const place = async (image, blob) => {
      if (turn !== this.#turn) return;
      const url = URL.createObjectURL(blob);
      this.#urls.push(url);
      image.src = url;
      await image.decode();
      if (turn === this.#turn) image.classList.add('ready');
    };
    this.#store.thumb(id).then((blob) => place(this.#thumb, blob)).catch(() => {}); // a placeholder only
    try {
      await place(this.#original, await this.#store.original(id));
      if (turn === this.#turn) this.#thumb.classList.remove('ready');
    } catch (error) {
      if (turn !== this.#turn) return; // no longer looked at
      $('viewer-problem').textContent = error.name === 'EncodingError'
        ? 'This browser cannot show the original. It can be downloaded.'
        : `The original could not be read. ${plain(error)}`;
      $('viewer-problem').hidden = false;
    }
  }

  #words(photo) {
    const { length } = this.#store.photos;
    this.#original.alt = photo.caption || photo.name || 'Photo without a name';
    $('viewer-place').textContent = `${this.#at + 1} of ${length}`;
    $('viewer-facts').textContent = [day(photo.taken), photo.name].filter(Boolean).join('  ·  ');
    if (this.#field.hidden) {
      this.#caption.textContent = photo.caption || 'Add a caption';
      this.#caption.classList.toggle('blank', !photo.caption);
    }
    $('viewer-previous').disabled = this.#at <= 0;
    $('viewer-next').disabled = this.#at >= length - 1;
  }

  #edit() {
    this.#field.value = this.#store.get(this.#id)?.caption ?? '';
    this.#field.hidden = false;
    this.#caption.hidden = true;
    this.#field.focus();
  }

  async #save() {
    if (this.#field.hidden) return;
    const id = this.#id;
    const text = this.#field.value.trim().replace(/\s+/g, ' ');
    this.#field.hidden = true;
    this.#caption.hidden = false;
    const before = this.#store.get(id)?.caption ?? '';
    if (text === before) return;
    this.#caption.textContent = text || 'Add a caption';
    this.#caption.classList.toggle('blank', !text);
    try {
      await this.#store.setCaption(id, text);
    } catch (error) {
      say(`The caption was not saved. ${plain(error)}`, {
        error: true,
        action: error.name !== 'locked' && 'Try again',
        run: () => this.#store.setCaption(id, text),
      });
      this.refresh();
    }
  }

  async #download() {
    const { name } = this.#store.get(this.#id);
    const url = URL.createObjectURL(await this.#store.original(this.#id));
    const link = document.createElement('a');
    link.href = url;
    link.download = name || 'photo';
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  #swipes() {
    const stage = this.#stage;
    let start = null;
    const end = () => {
      start = null;
      stage.classList.remove('held');
      stage.style.translate = '';
    };
    stage.addEventListener('pointerdown', (event) => {
      if (event.pointerType === 'mouse') return;
      if (!event.isPrimary || (window.visualViewport?.scale ?? 1) > 1.05) end(); // a pinch, or a zoomed picture
      else start = { x: event.clientX, y: event.clientY };
    });
    stage.addEventListener('pointermove', (event) => {
      if (!start || !event.isPrimary) return;
      stage.classList.add('held');
      stage.style.translate = `${event.clientX - start.x}px 0`;
    });
    stage.addEventListener('pointerup', (event) => {
      if (!start || !event.isPrimary) return;
      const x = event.clientX - start.x;
      const y = event.clientY - start.y;
      end();
      if (Math.abs(x) > SWIPE && Math.abs(x) > Math.abs(y)) this.#step(x < 0 ? 1 : -1);
      else if (y > SWIPE * 2) this.#dialog.close();
    });
    stage.addEventListener('pointercancel', end);
  }
}
