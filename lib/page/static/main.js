// Keeps the page as the server is: asks every two seconds what happens, and for a block only when its stamp has changed.
// One request is under way at most; none while nobody looks.

import { get, send } from './ask.js';
import { drawBudget } from './budget.js';
import { byId, h, show } from './dom.js';
import { drawLabels } from './labels.js';
import { drawModel } from './model.js';
import { drawNext } from './next.js';
import { drawNow, state } from './now.js';
import { count, number } from './text.js';

const EVERY = 2000; // ms
const seen = { now: null, model: null, next: null, labels: null, budget: null }; // tags of what is drawn
const page = { next: 1, labels: 1 };
let user = { name: null, admin: false };
let facts = {};
let last = null; // the training as it was told last
let stamps = {};
let timer = null;
let running = false;

const reader = () => user.name ?? byId('reader').value.trim();

const blocks = {
  model: { path: () => 'data/model', draw: (values) => { drawModel(values, { admin: user.admin, restore }); setFacts({ model: values }); } },
  next: {
    path: () => `data/next?page=${page.next}&client_id=${encodeURIComponent(reader())}`,
    draw: (values) => drawNext(values, { skip: (study) => skip(study, true), unskip: (study) => skip(study, false), go: (to) => turn('next', to), tell }),
  },
  labels: { path: () => `data/labels?page=${page.labels}`, draw: (values) => drawLabels(values, { go: (to) => turn('labels', to) }) },
  budget: { path: () => 'data/budget', draw: (values) => { drawBudget(values); setFacts({ outlook: values.outlook }); } },
};

async function refresh() {
  if (running || document.visibilityState === 'hidden') return;
  running = true;
  clearTimeout(timer);
  try {
    const { values, tag } = await get('data/now');
    if (tag !== seen.now) drawAll(values, tag);
    for (const [name, block] of Object.entries(blocks)) {
      const wanted = `${values.stamps[name]} ${block.path()}`;
      if (stamps[name] !== wanted) {
        const found = await get(block.path());
        if (found.tag !== seen[name]) block.draw(found.values);
        seen[name] = found.tag;
        stamps[name] = wanted;
      }
    }
    byId('lost').hidden = true;
    byId('updated').textContent = `Updated ${new Date().toLocaleTimeString('en-GB')}`;
    document.documentElement.dataset.loaded = 'true';
  } catch (error) {
    if (error.status === 401) location.reload(); // the session has ended: the login page comes
    byId('lost').textContent = error.status ? error.message : 'The server does not answer. What is shown is what it said last; the page goes on trying.';
    byId('lost').hidden = false;
  }
  running = false;
  timer = setTimeout(refresh, EVERY);
}

function drawAll(values, tag) {
  seen.now = tag;
  user = values.user;
  byId('project').textContent = values.project.name;
  document.title = `${values.project.name}: semiseg`;
  show('user', user.name ? h('a', { href: '../auth/login', 'data-key': 'user' }, `${user.name} (${user.role})`) : []);
  byId('reader-form').hidden = Boolean(user.name);
  drawNow(values);
  setFacts({ project: values.project });
  const { training } = values;
  if (last && (last.running !== training.running || last.status !== training.status)) tell(state(training));
  last = training;
}

function setFacts(more) {
  facts = { ...facts, ...more };
  const { project, model, outlook } = facts;
  if (!project) return;
  const live = model?.versions.find((each) => each.live);
  const all = project.labelled + project.unlabelled;
  const tile = (name, value, about) => h('div', {}, h('dt', {}, name), h('dd', {}, h('span', { class: 'big' }, value), about ? h('span', { class: 'soft' }, about) : null));
  const best = model?.comparisons.at(-1);
  show('facts', [
    tile('Labelled', project.labelled.toLocaleString('en'), `of ${count(all, 'study', 'studies')}`),
    tile('Live model', model?.live ?? 'none', live?.labels ? `from ${count(live.labels, 'label')}` : ''),
    tile('Validation Dice', number(live?.dice), live && live.dice === undefined ? 'its training is not kept' : live?.dice === null ? 'nobody has judged it' : ''),
    tile('Gain by unlabelled', best ? `${best.gain < 0 ? '−' : '+'}${Math.abs(best.gain).toFixed(3)}` : '–', best ? 'Dice, against labels alone' : 'not compared yet'),
    tile('10 more labels', outlook && outlook.gain !== null ? `+${outlook.gain.toFixed(3)}` : '–', outlook && outlook.gain !== null ? 'Dice expected' : 'no estimate yet'),
  ]);
}

// For screen readers, and for a moment on the screen.
let fading = null;
function tell(text) {
  byId('told').textContent = text;
  byId('toast').textContent = text;
  byId('toast').hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { byId('toast').hidden = true; }, 6000);
}

async function act(work, done) {
  try {
    await work();
    tell(done);
  } catch (error) {
    tell(error.message);
  }
  await soon();
}

// At once, after the request that may be under way.
async function soon() {
  while (running) await new Promise((resolve) => { setTimeout(resolve, 50); });
  await refresh();
}

async function turn(name, to) {
  page[name] = to;
  await soon();
  byId(`${name}-heading`).scrollIntoView();
  tell(`Page ${to} of the list is shown`);
}

async function skip(study, away) {
  if (!reader()) {
    byId('reader').focus();
    tell('Enter your name first: a study is skipped for one reader, others are offered it');
    return;
  }
  const path = `../worklist/${encodeURIComponent(study)}/skip?client_id=${encodeURIComponent(reader())}`;
  stamps.next = null;
  await act(() => send(away ? 'POST' : 'DELETE', path), away ? `${study} is not offered to ${reader()} any more` : `${study} is offered to ${reader()} again`);
}

async function sure(title, text, yes) {
  byId('ask-title').textContent = title;
  byId('ask-text').textContent = text;
  byId('ask-yes').textContent = yes;
  const dialog = byId('ask');
  dialog.returnValue = 'no';
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener('close', resolve, { once: true }); });
  return dialog.returnValue === 'yes';
}

async function restore(version) {
  const text = 'It serves all clients from then on, and the next training goes on from it. The version that is live now is kept.';
  if (await sure(`Go back to version ${version}?`, text, `Go back to ${version}`)) {
    await act(() => send('POST', `versions/${encodeURIComponent(version)}/live`), `Version ${version} is live`);
  }
}

async function stop() {
  const text = 'It saves its state, validates and publishes what it has learnt if that is no worse. The next training with the same labels and settings goes on from there.';
  if (await sure('Stop the training?', text, 'Stop it')) await act(() => send('DELETE', '../train/'), 'The training is asked to stop');
}

byId('stop').addEventListener('click', stop);
byId('reader').value = localStorage.getItem('semiseg-reader') ?? '';
byId('reader').addEventListener('change', () => { localStorage.setItem('semiseg-reader', byId('reader').value.trim()); soon(); });
byId('reader-form').addEventListener('submit', (event) => event.preventDefault());
document.addEventListener('visibilitychange', refresh);
refresh();
