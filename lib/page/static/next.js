// The ranked studies.

import { byId, h, pager, show, table } from './dom.js';
import { load, whenSeen } from './pictures.js';
import { DASH, count, moment, number, sentence, words } from './text.js';

export function drawNext(next, { skip, unskip, go, tell }) {
  const { total, scored, rows, strategy, version } = next;
  const highest = Math.max(0, ...rows.map((row) => row.score ?? 0));
  byId('next-about').textContent = about(total, scored, strategy, version);
  show('next-body', rows.length ? table('Unlabelled studies, the highest score first', [
    { name: 'Rank', number: true, cell: (row) => row.rank ?? DASH },
    { name: 'Slice', cell: (row) => picture(row, version, tell) },
    { name: 'Study', class: 'study', cell: (row) => row.study },
    { name: 'Score', number: true, cell: (row) => score(row, highest) },
    { name: 'Why', class: 'long', cell: (row) => [sentence(row.reason), row.open_with
      ? h('span', { class: 'badge' }, `open with ${row.open_with} until ${moment(row.open_until).split(', ').at(-1)}`) : null,
    row.skipped ? h('span', { class: 'badge' }, 'skipped by you') : null] },
    { name: 'Actions', cell: (row) => actions(row, skip, unskip) },
  ], rows, { caption: false, header: 2, class: 'next', rowClass: (row) => row.skipped && 'skipped' }) : null);
  show('next-pager', pager('ranked studies', next, go));
}

function about(total, scored, strategy, version) {
  if (!total) return 'Every study is labelled.';
  const all = count(total, 'study waits', 'studies wait');
  if (!version) return `${all} for a label. There is no model yet, so none has a score: Next in 3D Slicer or OHIF offers typical ones, unlike each other.`;
  const chosen = strategy === 'uncertainty' ? 'Next in 3D Slicer or OHIF offers them in this order.'
    : `Next in 3D Slicer or OHIF chooses by the strategy ${words(strategy)}, which looks at more than the score.`;
  return `${all} for a label; version ${version} of the model has scored ${scored.toLocaleString('en')}. The less sure it is, the higher the score. ${chosen}`;
}

// The bar is a share of the highest score on this page of the list.
function score(row, highest) {
  if (row.score === null) return DASH;
  return [h('span', {}, number(row.score)), h('meter', { min: 0, max: highest || 1, value: row.score, 'aria-hidden': 'true' })];
}

function picture(row, version, tell) {
  if (row.score === null) return h('span', { class: 'soft small' }, DASH); // it cannot be read, or there is no model
  const path = `picture/${encodeURIComponent(row.study)}?version=${version}`;
  const image = h('img', { alt: '', hidden: true, 'data-path': path, width: 96 });
  const button = h('button', {
    type: 'button', class: 'thumb', 'aria-pressed': 'false', 'data-key': `picture-${row.study}`,
    'aria-label': `Uncertainty over the most uncertain slice of ${row.study}`,
    onclick: async () => {
      const on = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-busy', 'true');
      try {
        await load(image, on ? `${path}&uncertainty=true` : path);
        button.setAttribute('aria-pressed', String(on));
      } catch (error) {
        tell(error.message);
      }
      button.removeAttribute('aria-busy');
    },
  }, image, h('span', { class: 'soft small' }, '…'));
  whenSeen(button);
  return button;
}

function actions(row, skip, unskip) {
  const button = row.skipped
    ? h('button', { type: 'button', 'data-key': `skip-${row.study}`, 'aria-label': `Offer ${row.study} again`, onclick: () => unskip(row.study) }, 'Offer again')
    : h('button', { type: 'button', 'data-key': `skip-${row.study}`, 'aria-label': `Skip ${row.study}`, onclick: () => skip(row.study) }, 'Skip');
  const open = row.viewer ? h('a', { class: 'button', href: `../${row.viewer}`, 'aria-label': `Open ${row.study} in OHIF` }, 'Open in OHIF') : null;
  return h('div', { class: 'buttons' }, open, button);
}
