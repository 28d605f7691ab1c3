// Lines in a box: the losses of the layers, and what a token costs. Numbers stand beside the drawing, as text.

import { draw, make, number, short } from './dom.js';

const WIDTH = 300;
const HEIGHT = 100;

// series: [{ name, points: [[x, y]…] }], drawn in the classes `name`; filled: between the first two.
export function lines(svg, series, { x, y, at, filled }) {
  const right = (value) => ((value - x[0]) / (x[1] - x[0] || 1)) * WIDTH;
  const down = (value) => HEIGHT - ((value - y[0]) / (y[1] - y[0] || 1)) * HEIGHT;
  const point = ([a, b]) => `${right(a).toFixed(1)},${down(b).toFixed(1)}`;
  const between = (above, below) => [...above, ...below.toReversed()].map(point).join(' ');
  svg.replaceChildren(
    ...(filled ? [draw('polygon', { points: between(series[0].points, series[1].points) })] : []),
    ...series.map(({ name, points }) => draw('polyline', { class: name, points: points.map(point).join(' ') })),
    ...(at === undefined ? [] : [draw('line', { class: 'at', x1: right(at), x2: right(at), y1: 0, y2: HEIGHT })]),
  );
}

export function box(label) {
  return draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
}

const MEAN = 8; // points of which a running mean is drawn: a mini-batch is harder than the next
const POINTS = 300; // of a line; more are thinned out, so that any text has room

// Losses of every layer before and after its inner steps, as they come.
export class Layers {
  constructor(element) {
    this.element = element;
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.layers = [];
    this.every = 1;
    this.seen = 0;
  }

  open(stats) {
    this.layers = stats.map((layer, i) => {
      const name = make('h3', {}, `Layer ${i + 1}`);
      if (!layer) {
        this.element.append(make('figure', {}, name, make('p', { className: 'hint' }, 'does not learn')));
        return null;
      }
      const svg = box(`Losses of layer ${i + 1} along the text`);
      const words = make('figcaption');
      this.element.append(make('figure', {}, name, svg, words));
      return { svg, words, points: [] };
    });
  }

  // stats: of each layer, null where it does not learn.
  add(position, stats) {
    if (!this.layers.length) this.open(stats);
    const keep = this.seen++ % this.every === 0;
    stats.forEach((layer, i) => {
      const own = this.layers[i];
      if (!own || !layer || layer.loss_before === null) return;
      const drop = (100 * (layer.loss_before - layer.loss_after)) / layer.loss_before;
      own.words.textContent =
        `${layer.loss_before.toPrecision(3)} → ${layer.loss_after.toPrecision(3)} (−${drop.toFixed(1)} %), ` +
        `fast weights moved by ${layer.change_norm.toPrecision(3)} of ${layer.weight_norm.toPrecision(3)}`;
      if (keep) own.points.push([position, layer.loss_before, layer.loss_after]);
    });
    if (!this.layers.some((own) => own && own.points.length > POINTS)) return;
    this.every *= 2;
    for (const own of this.layers) if (own) own.points = own.points.filter((_, i) => i % 2 === 0);
  }

  draw() {
    for (const own of this.layers) {
      if (!own) continue;
      own.svg.toggleAttribute('hidden', own.points.length < 2);
      if (own.points.length < 2) continue;
      const points = own.points.map((point, i) => {
        const last = own.points.slice(Math.max(0, i + 1 - MEAN), i + 1);
        return [point[0], ...[1, 2].map((k) => last.reduce((sum, each) => sum + each[k], 0) / last.length)];
      });
      const all = points.flatMap((point) => point.slice(1));
      const low = Math.min(...all);
      const high = Math.max(...all);
      const room = (high - low) * 0.08 || 1;
      lines(own.svg, [
        { name: 'before', points: points.map(([x, before]) => [x, before]) },
        { name: 'after', points: points.map(([x, , after]) => [x, after]) },
      ], { x: [points[0][0], points.at(-1)[0]], y: [low - room, high + room], filled: true });
    }
  }
}

function between(positions, values, at) {
  const i = positions.findIndex((position) => position >= at);
  if (i < 0) return values.at(-1);
  if (i === 0) return values[0];
  return values[i - 1] + ((values[i] - values[i - 1]) * (at - positions[i - 1])) / (positions[i] - positions[i - 1]);
}

// The cost of the next token, by how many were read. costs: of GET /cost.
export class Cost {
  constructor(element, costs) {
    this.costs = costs;
    this.svg = box('Operations of the next token by the tokens read: level for this model, rising for a Transformer');
    this.words = make('p', { className: 'hint' });
    this.right = make('span');
    this.top = make('span', { className: 'top-mark' });
    const axis = make('div', { className: 'axis' }, make('span', {}, '0 tokens'), this.right);
    element.replaceChildren(make('div', { className: 'plot' }, this.svg, this.top), axis, this.words);
    this.show(0);
  }

  show(position) {
    const { positions, model, transformer } = this.costs;
    const width = Math.max(16384, 2 ** Math.ceil(Math.log2(position * 1.3 + 1)));
    const own = between(positions, model.flops, position);
    const marks = [0, ...positions.filter((at) => at > 0 && at < width), width];
    const series = [{ name: 'after', points: marks.map((at) => [at, between(positions, model.flops, at)]) }];
    let words = `The next token takes ${short(own, 'FLOP')}, and ${short(between(positions, model.state_bytes, position), 'B')} of state are read for it`;
    if (transformer) {
      series.unshift({ name: 'before', points: marks.map((at) => [at, between(positions, transformer.flops, at)]) });
      const other = between(positions, transformer.flops, position);
      words += `; of a Transformer after ${number(position)} tokens ${short(other, 'FLOP')} (${(other / own).toFixed(1)} times as many) and ${short(between(positions, transformer.state_bytes, position), 'B')}`;
    }
    this.words.textContent = `${words}.`;
    const top = Math.max(...series.flatMap(({ points }) => points.map(([, cost]) => cost)));
    this.right.textContent = `${short(width)} tokens`;
    this.top.textContent = short(top, 'FLOP');
    lines(this.svg, series, { x: [0, width], y: [0, top * 1.05], at: position });
  }
}
