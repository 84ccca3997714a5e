// Short messages at the bottom of the page, read out by screen readers, some
// with one thing to do about them.

const place = document.getElementById('toasts');

const spoken = document.getElementById('sync-spoken');

/** An open modal dialog makes the rest of the page inert, so messages move into it. */
export function settle() {
  const home = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document.body;
  if (place.parentElement !== home) home.append(spoken, place);
}

/** Takes back what was said: it may name what is locked now. */
export function hush() {
  place.replaceChildren();
}

/**
 * @param {string} text
 * @param {{error?: boolean, action?: string, run?: () => unknown, seconds?: number}} [options]
 */
export function say(text, { error = false, action, run, seconds = error ? 12 : 6 } = {}) {
  settle();
  for (const other of place.children) if (other.dataset.text === text) other.remove(); // said again, not twice
  const toast = document.createElement('div');
  toast.className = error ? 'toast error' : 'toast';
  toast.dataset.text = text;
  const words = document.createElement('p');
  words.textContent = text;
  toast.append(words);

  let timer;
  const leave = () => {
    clearTimeout(timer);
    toast.classList.add('leaving');
    setTimeout(() => toast.remove(), 200);
  };
  const wait = () => { clearTimeout(timer); timer = setTimeout(leave, seconds * 1000); };
  if (action) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = action;
    button.onclick = () => { leave(); run(); };
    toast.append(button);
  }
  const close = document.createElement('button');
  close.type = 'button';
  close.className = 'close';
  close.ariaLabel = 'Dismiss';
  close.textContent = '×';
  close.onclick = leave;
  toast.append(close);

  for (const type of ['pointerenter', 'focusin']) toast.addEventListener(type, () => clearTimeout(timer));
  for (const type of ['pointerleave', 'focusout']) toast.addEventListener(type, wait);
  place.append(toast);
  while (place.children.length > 4) place.firstElementChild.remove();
  wait();
}

/** Runs what a button began; meanwhile it is out of use and says `data-busy`, if it has that. */
export async function busy(button, work) {
  const words = button.textContent;
  button.disabled = true;
  if (button.dataset.busy) button.textContent = button.dataset.busy;
  try {
    return await work();
  } finally {
    button.disabled = false;
    if (button.dataset.busy) button.textContent = words;
  }
}
