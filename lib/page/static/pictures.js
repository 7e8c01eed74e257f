// Thumbnails: drawn by the server one at a time, and only of the rows that are looked at.

import { ready } from './ask.js';

const waiting = [];
let busy = false;

const seen = new IntersectionObserver((entries) => {
  for (const each of entries) {
    if (!each.isIntersecting) continue;
    seen.unobserve(each.target);
    waiting.push(each.target.querySelector('img'));
  }
  work();
}, { rootMargin: '120px' });

// frame: has an <img> with data-path, hidden until the server has drawn it, and a note that says why it cannot be.
export const whenSeen = (frame) => seen.observe(frame);

async function work() {
  if (busy) return;
  busy = true;
  while (waiting.length) {
    const image = waiting.shift();
    if (!image.isConnected) continue; // of a page of the list that was left
    try {
      await load(image, image.dataset.path);
    } catch (error) {
      image.parentElement.title = error.message;
      image.nextElementSibling.textContent = error.later ? 'drawn later' : 'no picture';
      if (error.later) {
        waiting.push(image);
        await new Promise((resolve) => { setTimeout(resolve, error.later * 1000); });
      }
    }
  }
  busy = false;
}

export async function load(image, path) {
  await ready(path);
  image.src = path;
  image.hidden = false;
  image.nextElementSibling.textContent = '';
}
