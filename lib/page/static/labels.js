// Whose labels there are, which the model doubts, what was done, what cannot be used.

import { h, pager, show, table } from './dom.js';
import { DASH, count, moment, number, sentence } from './text.js';

export function drawLabels(labels, { go }) {
  const { total, rows, doubted, compared, readers, refused, refused_total: all, events } = labels;
  show('labels-body',
    h('div', { class: 'columns even' },
      h('div', { class: 'card' }, h('h3', {}, 'Where label and model disagree most'), doubts(doubted, compared)),
      h('div', { class: 'card' }, h('h3', {}, 'Readers'), readers.length ? table('Labels of each reader', [
        { name: 'Reader', cell: (each) => each.who ?? 'unknown (the file lay in the folder)' },
        { name: 'Labels', number: true, cell: (each) => each.labels.toLocaleString('en') },
      ], readers, { caption: false, class: 'narrow' }) : h('p', { class: 'soft' }, 'Nobody has submitted a label yet.'))),
    rows.length ? table(`${count(total, 'label')}, the newest first`, [
      { name: 'Study', class: 'study', cell: (row) => row.study },
      { name: 'Reader', cell: (row) => row.who ?? DASH },
      { name: 'Submitted', class: 'when', cell: (row) => moment(row.when) },
      { name: 'Dice with the model', number: true, cell: (row) => (row.current ? number(row.dice) : DASH) },
      { name: 'Side', cell: (row) => row.side ?? DASH },
      { name: 'Note', class: 'long', cell: (row) => sentence(row.note) },
    ], rows) : null);
  show('labels-pager', pager('labels', labels, go));
  show('labels-more',
    h('div', { class: 'columns even' },
      h('div', { class: 'card' }, h('h3', {}, 'Refused studies'), refused.length ? [
        h('p', { class: 'soft' }, all > refused.length ? `The first ${refused.length} of ${all.toLocaleString('en')}.` : `${count(all, 'study', 'studies')}.`),
        bounded('Refused studies', 'ul', refused.map((each) => h('li', {}, sentence(each.reason) || each.study)))]
        : h('p', { class: 'soft' }, 'None: every study could be read so far.')),
      h('div', { class: 'card' }, h('h3', {}, 'Who did what'), events.length
        ? bounded('Who did what, the latest first', 'ol', events.map((each) => h('li', {},
          h('time', { class: 'soft' }, moment(each.when)), ` ${each.what}`, each.study ? `: ${each.study}` : '', each.who && each.who !== '-' ? h('span', { class: 'soft' }, ` by ${each.who}`) : '')))
        : h('p', { class: 'soft' }, 'Nothing yet.'))));
}

// A long list that scrolls by itself.
function bounded(name, kind, items) {
  return h('div', { class: 'bounded', tabindex: '0', role: 'region', 'aria-label': name }, h(kind, { class: 'plain' }, items));
}

function doubts(doubted, compared) {
  if (!compared) {
    return h('p', { class: 'soft' }, 'Not known for the live model: run the scoring method dice (POST /scoring/dice, or Scoring in 3D Slicer), which compares it with each label.');
  }
  return [h('p', { class: 'soft' }, `Of ${count(compared, 'label')} compared with the live model. A low Dice on a study it has learnt from is worth a second look.`),
    table('Labels with the lowest Dice', [
      { name: 'Study', class: 'study', cell: (row) => row.study },
      { name: 'Reader', cell: (row) => row.who ?? DASH },
      { name: 'Dice', number: true, cell: (row) => number(row.dice) },
      { name: 'Side', cell: (row) => row.side ?? DASH },
    ], doubted, { caption: false })];
}
