// The heat map: text in the colours of its surprise while it comes. A level is a third of a doubling of bits; which
// colour a level has depends on how rare it is in the text so far, and is changed for all of it at once.

import { make } from './dom.js';

const LEVELS = 22; // from half a bit to 64
const COLOURS = 11;
const WORD = 24; // characters that are coloured together at most
const WORST = 8;
const BLOCK = 2000; // characters of a paragraph, after which the next line is another one
const SPANS = 40000; // that are kept

function levelOf(bits) {
  if (!(bits >= 0.5)) return 0;
  return Math.min(LEVELS - 1, 1 + Math.floor(3 * Math.log2(2 * bits)));
}

// The text of a token's name: names that are not text ("bytes:\xe2\x80", "token_id:7") are bytes, or nothing.
export function bytesOf(name) {
  if (/^bytes:(\\x[0-9a-f]{2})+$/.test(name)) {
    return Uint8Array.from(name.slice(6).split('\\x').slice(1), (hex) => parseInt(hex, 16));
  }
  if (/^token_id:\d+$/.test(name) || /^<\|?[a-z_]+\|?>$/.test(name)) return new Uint8Array();
  return new TextEncoder().encode(name);
}

export class Heat {
  constructor(element) {
    this.element = element;
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.counts = new Array(LEVELS).fill(0);
    this.group = { text: '', bits: 0 };
    this.decoder = new TextDecoder();
    this.line = { text: '', bits: 0, number: 1 };
    this.worst = []; // lines, the most surprising first
    this.block = null;
    this.ended = 0; // newlines since the last word
    this.last = null;
    this.spans = 0;
    this.dropped = false;
    this.stale = true;
    this.colour();
  }

  // A token: its bytes, and its bits or null.
  add(bytes, bits) {
    const piece = this.decoder.decode(bytes, { stream: true });
    if (/^\s/.test(piece) || this.group.text.length + piece.length > WORD) this.flush(); // words are coloured together
    this.group.text += piece;
    this.group.bits += bits || 0;
  }

  flush() {
    const { text, bits } = this.group;
    this.group = { text: '', bits: 0 };
    if (!text) return;
    const level = levelOf(bits);
    this.counts[level]++;
    this.stale = true;
    for (const piece of text.split(/(\n+)/)) {
      if (!piece) continue;
      if (piece.startsWith('\n')) {
        if (this.block) this.block.append(piece);
        this.ended += piece.length;
        if (this.ended > 1 || this.block?.textContent.length > BLOCK) this.block = null;
        this.last = null;
        this.endLine();
        continue;
      }
      this.ended = 0;
      if (!this.block) {
        this.block = make('p');
        this.element.append(this.block);
      }
      if (this.last && this.last.level === level && this.last.bits + bits < 1e4) {
        this.last.node.textContent += piece;
        this.last.bits += bits;
      } else {
        const node = make('span', { className: `s${level}` }, piece);
        this.block.append(node);
        this.last = { node, level, bits };
        this.spans++;
      }
      this.last.node.dataset.bits = this.last.bits.toFixed(1);
      this.line.text += piece;
      this.line.bits += bits;
    }
    while (this.spans > SPANS && this.element.firstChild !== this.block) {
      this.spans -= this.element.firstChild.querySelectorAll('span').length;
      this.element.firstChild.remove();
      this.dropped = true;
    }
  }

  endLine() {
    const { text, bits, number } = this.line;
    const bytes = new TextEncoder().encode(text).length;
    this.line = { text: '', bits: 0, number: number + 1 };
    if (bytes < 12) return;
    this.worst.push({ text, number, rate: bits / bytes });
    this.worst.sort((a, b) => b.rate - a.rate);
    this.worst.length = Math.min(this.worst.length, WORST);
  }

  // The colour of each level: from what half of the text reaches to the rarest, by the logarithm of the share.
  colour() {
    if (!this.stale) return;
    this.stale = false;
    const reach = new Array(LEVELS + 1).fill(0);
    for (let i = LEVELS - 1; i >= 0; i--) reach[i] = reach[i + 1] + this.counts[i];
    const rarity = (i) => (reach[i] ? Math.max(0, Math.log2(reach[0] / reach[i]) - 1) : 0);
    const rarest = Math.max(...this.counts.map((_, i) => rarity(i)), 3);
    for (let i = 0; i < LEVELS; i++) {
      const r = i ? rarity(i) : 0;
      const colour = r > 0 ? 1 + Math.round(((COLOURS - 1) * r) / rarest) : 0;
      this.element.style.setProperty(`--b${i}`, `var(--heat-${colour})`);
      this.element.style.setProperty(`--f${i}`, colour >= 8 ? 'var(--heat-ink)' : 'inherit');
    }
  }

  end() {
    this.group.text += this.decoder.decode();
    this.flush();
    this.endLine();
    this.colour();
  }
}
