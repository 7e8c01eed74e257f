// Numbers and times as people read them.

export const DASH = '–';

export const number = (value, digits = 3) =>
  (value === null || value === undefined ? DASH : Number(value).toFixed(digits));

export const signed = (value, digits = 3) =>
  (value === null || value === undefined ? DASH : `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`);

export const count = (value, one, many = `${one}s`) => `${value.toLocaleString('en')} ${value === 1 ? one : many}`;

export const words = (text) => (text || '').replace(/_/g, ' ');

export function sentence(text) {
  const clean = (text || '').trim();
  return clean && !/[.!?]$/.test(clean) ? `${clean}.` : clean;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return DASH;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

// value: seconds since 1970, or text as ISO 8601 has it.
export function moment(value) {
  if (value === null || value === undefined || value === '') return DASH;
  const date = typeof value === 'number' ? new Date(value * 1000) : new Date(value.replace(/([+-]\d\d)(\d\d)$/, '$1:$2'));
  if (Number.isNaN(date.getTime())) return String(value);
  return date.toLocaleString('en-GB', { day: '2-digit', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });
}
