// What labels have brought, and what the next ones are expected to bring.

import { lineChart } from './chart.js';
import { h, show, table } from './dom.js';
import { number, sentence, signed } from './text.js';

export function drawBudget({ curve, dice, labels, expected, outlook, labelled_now: now }) {
  const byLabels = new Map();
  for (const each of curve) byLabels.set(each.labels, [...(byLabels.get(each.labels) ?? []), each.dice]);
  const known = [...byLabels].sort(([a], [b]) => a - b).map(([at, all]) => [at, all.reduce((sum, each) => sum + each, 0) / all.length]);
  const ahead = expected.length ? [[labels, dice], ...expected.map((each) => [each.labels, Math.min(1, dice + each.gain)])] : [];
  const band = expected.length ? [[labels, dice, dice], ...expected.map((each) => [each.labels, Math.min(1, dice + each.low), Math.min(1, dice + each.high)])] : [];
  const values = [...known, ...ahead].map(([, value]) => value);
  show('budget-body',
    h('p', { class: 'lead' }, sentence(outlook.reason)),
    h('div', { class: 'columns' },
      h('div', { class: 'card' }, curve.length ? lineChart({
        title: 'Validation Dice over the number of labels', across: 'labels', key: 'budget', low: Math.max(0, Math.min(...values, 0.9) - 0.02), high: 1, band,
        series: [{ name: 'trainings', points: known }, ...(ahead.length ? [{ name: 'estimate', points: ahead }] : [])], dashed: ['estimate'],
      }) : h('p', { class: 'soft' }, 'The curve begins with the first training that was validated.')),
      h('div', { class: 'card' }, h('h3', {}, 'What more labels are expected to bring'), expected.length ? table('From today on', [
        { name: 'More labels', number: true, cell: (each) => `+${each.more}` },
        { name: 'Dice', number: true, cell: (each) => signed(each.gain) },
        { name: '80 % interval', number: true, cell: (each) => `${number(each.low)} to ${number(each.high)}` },
      ], expected, { caption: false, class: 'narrow' }) : h('p', { class: 'soft' }, 'An estimate needs three trainings with different numbers of labels.'),
      h('p', { class: 'soft' }, `${now.toLocaleString('en')} studies are labelled now; the latest point is of ${labels} labels.`))));
}
