// Line charts in SVG: told to screen readers by title and description, with the numbers in a table behind.

import { h, svg, table } from './dom.js';
import { number } from './text.js';

const WIDTH = 520;
const HEIGHT = 240;
const EDGE = { left: 48, right: 14, top: 14, bottom: 38 };

// series: [{ name, points: [[x, y or null], ...] }], at most six; band: [[x, low, high], ...] around an estimate, whose
// line is dashed and called estimate; across, up: what the axes are; low, high: bounds of the values that must be seen.
export function lineChart({ title, series, across, up, band = [], low, high, digits = 3, dashed = [], key }) {
  const points = series.flatMap((each) => each.points).filter(([, y]) => y !== null);
  if (!points.length) return h('p', { class: 'soft' }, `${title}: there are no numbers yet.`);
  const xs = [...points.map(([x]) => x), ...band.map(([x]) => x)];
  const ys = [...points.map(([, y]) => y), ...band.flatMap(([, ...ends]) => ends)];
  const x = scale(Math.min(...xs), Math.max(...xs), EDGE.left, WIDTH - EDGE.right, true);
  const ticks = steps(low ?? Math.min(...ys), high ?? Math.max(...ys));
  const y = scale(ticks[0], ticks.at(-1), HEIGHT - EDGE.bottom, EDGE.top);
  const name = `chart-${key}`;
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-labelledby': `${name}-t ${name}-d` },
    svg('title', { id: `${name}-t` }, title),
    svg('desc', { id: `${name}-d` }, spoken(series, across)),
    ticks.map((value) => [
      svg('line', { class: 'grid', x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }),
      svg('text', { class: 'tick', x: EDGE.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, trimmed(value)),
    ]),
    apart(xTicks(xs), x).map((value) => svg('text', { class: 'tick', x: x(value), y: HEIGHT - EDGE.bottom + 17, 'text-anchor': 'middle' }, value.toLocaleString('en'))),
    svg('text', { class: 'axis-name', x: (EDGE.left + WIDTH - EDGE.right) / 2, y: HEIGHT - 4, 'text-anchor': 'middle' }, across),
    band.length ? svg('path', { class: 'band', d: outline(band, x, y) }) : null,
    series.map((each, place) => line(each, place, x, y, dashed.includes(each.name))));
  return h('figure', { class: 'chart' },
    h('figcaption', {}, title, up ? h('span', { class: 'soft' }, ` ${up}`) : null),
    series.length > 1 ? legend(series, dashed) : null,
    drawing,
    numbers(title, series, across, digits, name));
}

function line({ points, name }, place, x, y, dashed) {
  const parts = [[]];
  for (const [at, value] of points) value === null ? parts.push([]) : parts.at(-1).push([x(at), y(value)]);
  const few = points.length <= 40;
  return svg('g', { class: `series s${place}${dashed ? ' dashed' : ''}`, 'data-series': name },
    parts.filter((part) => part.length > 1).map((part) => svg('polyline', { points: part.map((each) => each.map((value) => value.toFixed(1)).join(',')).join(' ') })),
    few ? parts.flat().map(([cx, cy]) => svg('circle', { cx: cx.toFixed(1), cy: cy.toFixed(1), r: 3.2 })) : null);
}

function legend(series, dashed) {
  return h('ul', { class: 'legend', 'aria-hidden': 'true' }, series.map((each, place) =>
    h('li', { class: `s${place}` },
      svg('svg', { viewBox: '0 0 26 8', class: 'key' }, svg('g', { class: `series s${place}${dashed.includes(each.name) ? ' dashed' : ''}` },
        svg('polyline', { points: '1,4 25,4' }), svg('circle', { cx: 13, cy: 4, r: 3 }))),
      each.name)));
}

function numbers(title, series, across, digits, name) {
  const rows = [...new Set(series.flatMap((each) => each.points.map(([at]) => at)))].sort((a, b) => a - b);
  const columns = [{ name: across, number: true, cell: (at) => at.toLocaleString('en') }, ...series.map((each) => {
    const known = new Map(each.points);
    return { name: each.name, number: true, cell: (at) => number(known.get(at), digits) };
  })];
  return h('details', { 'data-key': name }, h('summary', {}, 'Numbers', h('span', { class: 'visually-hidden' }, ` of: ${title}`)),
    table(title, columns, rows, { caption: false }));
}

function spoken(series, across) {
  return series.map(({ name, points }) => {
    const known = points.filter(([, value]) => value !== null);
    if (!known.length) return `${name}: no values`;
    const [first, last] = [known[0], known.at(-1)];
    return `${name}: ${number(first[1])} at ${across} ${first[0]}, ${number(last[1])} at ${last[0]}`;
  }).join('; ');
}

function outline(band, x, y) {
  const there = band.map(([at, , high]) => `${x(at).toFixed(1)} ${y(high).toFixed(1)}`);
  const back = band.map(([at, low]) => `${x(at).toFixed(1)} ${y(low).toFixed(1)}`).reverse();
  return `M${[...there, ...back].join('L')}Z`;
}

// From a value to a place; one single value stands in the middle.
function scale(low, high, start, end) {
  return (value) => (high > low ? start + ((value - low) / (high - low)) * (end - start) : (start + end) / 2);
}

// Round numbers from below the lowest to above the highest value.
function steps(low, high) {
  const wide = Math.max(high - low, Math.abs(high) / 10, 1e-3); // of equal values too
  const unit = 10 ** Math.floor(Math.log10(wide / 4));
  const step = [1, 2, 5, 10].map((each) => each * unit).find((each) => wide / each <= 5);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

function xTicks(xs) {
  const known = [...new Set(xs)].sort((a, b) => a - b);
  if (known.length <= 8) return known;
  const step = Math.ceil((known.length - 1) / 6);
  return known.filter((_, place) => place % step === 0);
}

// Those that leave their neighbour on the left room to be read.
function apart(values, x) {
  return values.reduce((kept, value) => (kept.length && x(value) - x(kept.at(-1)) < 26 ? kept : [...kept, value]), []);
}

const trimmed = (value) => String(Number(value.toPrecision(6)));
