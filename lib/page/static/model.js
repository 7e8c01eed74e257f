// How good the model is, and going back to an earlier one.

import { lineChart } from './chart.js';
import { h, show, table } from './dom.js';
import { DASH, count, moment, number, sentence, signed, words } from './text.js';

const LINES = 5; // cases drawn: the lowest of the latest round
const MEANING = {
  pseudo_foreground: 'Share of the unlabelled voxels that pseudo-labels call foreground. Near zero: the structure is being unlearnt.',
  agreement: 'Dice between the branches on unlabelled studies. At 1 they have become one network.',
  ensemble_gain: 'What the branches together gain in Dice over each alone. At 0 there is no gain in having several.',
  skipped: 'Share of the loss terms that had nothing to learn from.',
};

export function drawModel(model, { admin, restore }) {
  if (!model.rounds.length && !model.versions.length) {
    show('model-body', h('p', { class: 'card soft' }, 'There is no model yet. The first training publishes one, and its validation is shown here.'));
    return;
  }
  const judged = model.rounds.map((each, place) => ({ ...each, round: place + 1 })).filter((each) => each.dice !== null);
  const latest = model.rounds.filter((each) => each.warnings.length).at(-1);
  const current = model.rounds.at(-1);
  show('model-body',
    h('div', { class: 'columns even' }, h('div', { class: 'card' }, classChart(judged)), h('div', { class: 'card' }, caseChart(judged))),
    latest && latest === current ? h('div', { class: 'notice warn' }, h('h3', {}, 'Warnings of the latest training'),
      h('ul', {}, latest.warnings.map((each) => h('li', {}, sentence(each))))) : null,
    h('div', { class: 'card' }, h('h3', {}, 'What the unlabelled studies have brought'), comparison(model.comparisons)),
    h('div', { class: 'card' }, h('h3', {}, 'Versions'), versions(model.versions, admin, restore)),
    h('div', { class: 'card' }, h('h3', {}, 'Trainings'), trainings(model.rounds)),
    monitors(model.monitors));
}

function classChart(rounds) {
  const names = [...new Set(rounds.flatMap((each) => Object.keys(each.classes)))].slice(0, 5);
  const of = (value) => rounds.map((each) => [each.round, value(each) ?? null]);
  const series = names.length === 1 ? [] : names.map((name) => ({ name, points: of((each) => each.classes[name]) }));
  return [h('h3', {}, 'Validation Dice by class'), lineChart({
    title: 'Validation Dice over the trainings', across: 'training', key: 'classes',
    series: [{ name: names.length === 1 ? names[0] : 'mean', points: of((each) => each.dice) }, ...series], ...range(rounds.flatMap((each) => [each.dice, ...Object.values(each.classes)])),
  })];
}

function caseChart(rounds) {
  const last = rounds.at(-1);
  if (!last) return [h('h3', {}, 'Validation Dice by case'), h('p', { class: 'soft' }, 'No training was validated yet: there are too few labels to keep some for that.')];
  const lowest = Object.keys(last.cases).slice(0, LINES);
  const all = Object.keys(last.cases);
  const chart = lineChart({
    title: all.length > LINES ? `The ${LINES} lowest of ${all.length} validation cases` : 'Validation Dice of each case',
    across: 'training', key: 'cases',
    series: lowest.map((name) => ({ name, points: rounds.map((each) => [each.round, each.cases[name] ?? null]) })),
    ...range(lowest.flatMap((name) => rounds.map((each) => each.cases[name] ?? 1))),
  });
  return [h('h3', {}, 'Validation Dice by case'), chart, all.length > LINES ? h('details', { 'data-key': 'all-cases' },
    h('summary', {}, `All ${all.length} cases of the latest training`),
    table('Validation Dice of each case, the lowest first', [
      { name: 'Study', cell: (name) => name }, { name: 'Dice', number: true, cell: (name) => number(last.cases[name]) },
    ], all, { caption: false })) : null];
}

// 0 to 1 would press good models into one line; from below the lowest value up to 1 it is comparable all the same.
function range(values) {
  const known = values.filter((each) => each !== null && each !== undefined);
  return { low: Math.max(0, Math.min(0.9, ...known) - 0.02), high: 1 };
}

function comparison(found) {
  if (!found.length) {
    return h('p', { class: 'soft' }, 'Not known: no two trainings, one of them with the method supervised, have learnt from the same labels. Train once with it to see the difference.');
  }
  return table('Same labels, same validation studies, with and without the unlabelled studies', [
    { name: 'Method', cell: (each) => words(each.method) },
    { name: 'Labels', number: true, cell: (each) => each.labels },
    { name: 'Unlabelled', number: true, cell: (each) => each.unlabelled.toLocaleString('en') },
    { name: 'Supervised Dice', number: true, cell: (each) => number(each.supervised) },
    { name: 'Semi-supervised Dice', number: true, cell: (each) => number(each.semi_supervised) },
    { name: 'Difference', number: true, cell: (each) => h('strong', {}, signed(each.gain)) },
  ], found);
}

function versions(found, admin, restore) {
  return table('Kept versions, the newest first', [
    { name: 'Version', cell: (each) => each.version },
    { name: 'Method', cell: (each) => words(each.method) || DASH },
    { name: 'Labels', number: true, cell: (each) => each.labels ?? DASH },
    { name: 'Dice', number: true, cell: (each) => number(each.dice) },
    { name: 'Trained', class: 'when', cell: (each) => moment(each.started) },
    { name: 'Serving', cell: (each) => (each.live ? h('span', { class: 'badge good' }, 'live') : admin
      ? h('button', { type: 'button', 'data-key': `restore-${each.version}`, 'aria-label': `Go back to version ${each.version}`, onclick: () => restore(each.version) }, 'Go back')
      : DASH) },
  ], found, { caption: false });
}

function trainings(rounds) {
  return table('Trainings, the latest first', [
    { name: 'Started', class: 'when', cell: (each) => moment(each.started) },
    { name: 'Method', cell: (each) => words(each.method) },
    { name: 'Labels', number: true, cell: (each) => each.labels },
    { name: 'Unlabelled', number: true, cell: (each) => each.unlabelled.toLocaleString('en') },
    { name: 'Dice', number: true, cell: (each) => number(each.dice) },
    { name: 'Outcome', class: 'long', cell: (each) => sentence(each.reason) || each.status },
    { name: 'Report', cell: (each) => (each.report ? h('a', { href: `runs/${encodeURIComponent(each.run)}/report.html`, 'aria-label': `Report of the training of ${moment(each.started)}` }, 'Report') : DASH) },
  ], [...rounds].reverse(), { caption: false });
}

function monitors({ method, values }) {
  const names = Object.keys(values ?? {});
  if (!names.length) return null;
  return h('div', { class: 'card' },
    h('h3', {}, 'Pseudo-label monitors'),
    h('p', { class: 'soft' }, `Of the latest training, with ${words(method)}: ${count(names.length, 'value')} that tell a healthy training from a collapsing one.`),
    h('div', { class: 'charts' }, names.map((name) => h('div', {},
      lineChart({ title: words(name).replace(/^./, (each) => each.toUpperCase()), across: 'iteration', key: `monitor-${name}`, digits: 4, series: [{ name: words(name), points: values[name].curve }] }),
      MEANING[name] ? h('p', { class: 'soft small' }, MEANING[name]) : null))));
}
