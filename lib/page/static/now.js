// What happens at the moment.

import { byId, h, show, table } from './dom.js';
import { DASH, count, duration, moment, number, sentence, words } from './text.js';

export function drawNow({ training, inferences, tasks, errors, user }) {
  byId('stop').hidden = !(training.running && user.admin && training.status !== 'stopping');
  byId('training-state').textContent = state(training);
  show('training-body', body(training));
  show('queue', queue(inferences, tasks));
  show('errors', errors.length
    ? h('ul', { class: 'errors' }, errors.slice(0, 6).map((each) =>
      h('li', {}, each.when ? h('time', { class: 'soft' }, moment(each.when)) : null, sentence(each.text))))
    : h('p', { class: 'soft' }, 'Nothing.'));
}

// In one sentence.
export function state({ running, status, stage, method, step, total, seconds_left: left, reason }) {
  if (running && status === 'stopping') return `The ${words(method)} training is asked to stop: it saves, validates and publishes what it has.`;
  if (running && stage === 'elsewhere') return 'A training that the command line has started is under way.';
  if (running && !total) return `A ${words(method)} training is ${stage === 'preparing' ? 'preparing the studies' : 'starting'}.`;
  if (running) {
    const time = left === null ? '' : `, about ${duration(left)} left`;
    return `${stage === 'training' ? 'Training' : words(stage).replace(/^./, (each) => each.toUpperCase())} with ${words(method)}: iteration ${step} of ${total}${time}.`;
  }
  if (!status) return 'No training yet: label a few studies in 3D Slicer or OHIF, then start one there.';
  return `No training at the moment. The last one (${words(method)}) ${ended(status)}. ${sentence(reason)}`.trim();
}

const ended = (status) => ({ done: 'is done', stopped: 'was stopped', failed: 'failed' }[status] ?? `ended as ${status}`);

function body(training) {
  const { running, step, total, losses, metric, best_metric: best, warnings, total_time: took, outlook } = training;
  const terms = Object.entries(losses ?? {}).filter(([name]) => !name.startsWith('skipped/'));
  const idle = (name) => Boolean(losses[`skipped/${name}`]);
  return [
    running ? h('progress', { max: total || 1, value: total ? step : null, 'aria-label': 'Iterations done' }) : null,
    !training.status ? null : h('dl', { class: 'pairs' },
      [['Dice at the latest validation', number(metric)], ['Best so far', best ? number(best) : DASH], ['Started', moment(training.start_ts)],
        [running ? 'Running for' : 'Took', (running ? training.current_time : took) ?? DASH]]
        .filter(([, value]) => value !== DASH).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    terms.length ? table('Losses of the terms', [
      { name: 'Term', cell: ([name]) => (name === 'loss' ? 'sum, weighted' : words(name)) },
      { name: running ? 'Now' : 'At the end', number: true, cell: ([name, value]) => (idle(name) ? h('span', { class: 'soft' }, 'nothing to learn from') : number(value, 4)) },
    ], terms, { class: 'narrow' }) : null,
    (warnings ?? []).length ? h('div', { class: 'notice warn' }, h('h4', {}, 'Warnings'), h('ul', {}, warnings.map((each) => h('li', {}, sentence(each))))) : null,
    outlook && !running ? h('p', { class: 'soft' }, outlook) : null,
  ];
}

function queue(inferences, tasks) {
  const rows = [
    h('li', {}, h('strong', {}, 'Segmentations: '), inferences.running + inferences.waiting
      ? `${inferences.running} at work, ${inferences.waiting} waiting` : 'none at the moment'),
    ...tasks.map((task) => h('li', {}, h('strong', {}, `${task.kind.replace(/^./, (each) => each.toUpperCase())} (${words(task.method)}): `),
      `${task.status} since ${task.since}`, task.pending > 1 ? `, ${count(task.pending - 1, 'more waits', 'more wait')}` : '',
      task.text ? `. ${sentence(task.text)}` : '')),
  ];
  return h('ul', { class: 'plain' }, rows);
}
