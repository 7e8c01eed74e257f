// Elements without a framework. Text is only ever set as text: names of studies and classes are the words of others.

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'onclick') element.addEventListener('click', value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// New content for a part of the page. Whoever was on a control of it is on its successor afterwards, and what was
// unfolded stays so; both are found again by data-key.
export function show(id, ...nodes) {
  const part = byId(id);
  const key = part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const open = [...part.querySelectorAll('details[open][data-key]')].map((each) => each.dataset.key);
  part.replaceChildren(...nodes.flat(Infinity).filter(Boolean));
  for (const each of part.querySelectorAll('details[data-key]')) each.open ||= open.includes(each.dataset.key);
  if (key) [...part.querySelectorAll('[data-key]')].find((each) => each.dataset.key === key)?.focus();
}

// A table that scrolls by itself where the screen is narrow. columns: [{ name, number, cell(row) }]; the first names the row.
export function table(caption, columns, rows, options = {}) {
  const head = columns.map((each) =>
    h('th', { scope: 'col', class: each.number && 'number' }, each.hidden ? h('span', { class: 'visually-hidden' }, each.name) : each.name));
  const body = rows.map((row) =>
    h('tr', { class: options.rowClass?.(row) || null },
      columns.map((each, place) => place === (options.header ?? 0)
        ? h('th', { scope: 'row', class: [each.number && 'number', each.class].filter(Boolean).join(' ') || null }, each.cell(row))
        : h('td', { class: [each.number && 'number', each.class].filter(Boolean).join(' ') || null }, each.cell(row)))));
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', { class: options.class || null },
      h('caption', { class: options.caption === false ? 'visually-hidden' : null }, caption),
      h('thead', {}, h('tr', {}, head)),
      h('tbody', {}, body)));
}

// Buttons to the pages before and after; nothing where there is one page only.
export function pager(name, { page, pages }, go) {
  if (pages < 2) return null;
  const button = (text, to, key) =>
    h('button', { type: 'button', disabled: to < 1 || to > pages, 'data-key': `${name}-${key}`, onclick: () => go(to) }, text);
  return h('nav', { class: 'pager', 'aria-label': `Pages of the ${name}` },
    button('First', page === 1 ? 0 : 1, 'first'),
    button('Previous', page - 1, 'previous'),
    h('span', {}, `Page ${page} of ${pages}`),
    button('Next page', page + 1, 'next'));
}
