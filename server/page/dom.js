// Small things that all parts of the page use.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const number = (x) => Math.round(x).toLocaleString('en');

// 1234567 → "1.2 M"; with unit "B" "1.2 MB".
export function short(x, unit = '') {
  const steps = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
  const [by, letter] = steps.find(([least]) => Math.abs(x) >= least) || [1, ''];
  const value = x / by;
  const digits = by === 1 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  const words = Number(value.toFixed(digits)).toLocaleString('en');
  return letter || unit ? `${words} ${letter}${unit}` : words;
}

let hide = 0;

// What went wrong, for all to see; gone after a while, or when something else is said.
export function notice(message) {
  const element = $('notice');
  clearTimeout(hide);
  element.textContent = message || '';
  element.hidden = !message;
  if (message) hide = setTimeout(() => notice(''), 12000);
}

// Runs work with a signal that `stop` (a button) and Escape within `area` set off. Buttons are usable accordingly.
export async function stoppable(go, stop, area, work) {
  const controller = new AbortController();
  const escape = (event) => event.key === 'Escape' && controller.abort();
  const click = () => controller.abort();
  go.disabled = true;
  stop.disabled = false;
  stop.addEventListener('click', click);
  area.addEventListener('keydown', escape);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (error.name === 'AbortError') return null;
    notice(error.message);
    return null;
  } finally {
    go.disabled = false;
    stop.disabled = true;
    stop.removeEventListener('click', click);
    area.removeEventListener('keydown', escape);
  }
}
