"use strict";

/* The list: a window on any number of rows of one height, of which only those in sight exist. */

const HEADS = [
  ["sample", "sample"], ["question", "question"], ["target", "right answer"],
  ["result", "result"], ["right", "variants right"],
];
const HIGHEST_PX = 8e6; // browsers draw nothing beyond some ten million pixels

class List {
  constructor(draw, open, sort) {
    Object.assign(this, { draw, open, rows: new Uint32Array(0), current: 0, pool: [] });
    this.grid = document.querySelector("#list");
    this.window = document.querySelector("#window");
    this.space = document.querySelector("#space");
    this.heads = document.querySelector("#heads");
    for (const [name, words] of HEADS) {
      const button = make("button", { type: "button" }, words);
      button.addEventListener("click", () => sort(name));
      this.heads.append(make("span", { role: "columnheader", class: `col-${name}` }, button));
    }
    this.window.addEventListener("scroll", () => this.later(), { passive: true });
    this.grid.addEventListener("keydown", event => this.key(event));
    this.window.addEventListener("click", event => this.click(event));
    new ResizeObserver(() => this.later()).observe(this.window);
  }

  get rowPx() {
    return matchMedia("(max-width: 45rem)").matches ? 72 : 38;
  }

  show(rows, state) {
    this.rows = rows;
    this.current = Math.max(0, Math.min(this.current, rows.length - 1));
    this.grid.setAttribute("aria-rowcount", rows.length + 1);
    HEADS.forEach(([name], n) => {
      const order = state.sort !== name ? "none" : state.down ? "descending" : "ascending";
      this.heads.children[n].setAttribute("aria-sort", order);
    });
    this.render();
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.render(); });
  }

  /* Rows of more than the highest height share it: a pixel of scrolling is then several of rows. */
  get scale() {
    const real = this.rows.length * this.rowPx, room = this.window.clientHeight;
    return real <= HIGHEST_PX ? 1 : (real - room) / (HIGHEST_PX - room);
  }

  render() {
    const { rows, rowPx, scale } = this, room = this.window.clientHeight;
    this.space.style.height = `${Math.min(rows.length * rowPx, HIGHEST_PX)}px`;
    const top = this.window.scrollTop, real = top * scale;
    const first = Math.max(0, Math.floor(real / rowPx) - 4);
    const last = Math.min(rows.length, Math.ceil((real + room) / rowPx) + 4);
    while (this.pool.length < last - first) {
      const element = make("div", { role: "row", id: `row-${this.pool.length}` });
      for (const [name] of HEADS) element.append(make("span", { role: "gridcell", class: `col-${name}` }));
      this.pool.push(element);
      this.space.append(element);
    }
    this.pool.forEach((element, n) => {
      const place = first + n;
      element.hidden = place >= last;
      if (element.hidden) return;
      element.style.transform = `translateY(${place * rowPx - real + top}px)`;
      element.dataset.place = place;
      element.setAttribute("aria-rowindex", place + 2);
      element.setAttribute("aria-selected", place === this.current);
      if (place === this.current) this.grid.setAttribute("aria-activedescendant", element.id);
      this.draw(element, rows[place]);
    });
  }

  /* Brings a place into sight, and makes it the current one. */
  go(place) {
    this.current = Math.max(0, Math.min(place, this.rows.length - 1));
    const { rowPx, scale } = this, room = this.window.clientHeight, at = this.current * rowPx;
    const real = this.window.scrollTop * scale;
    if (at < real) this.window.scrollTop = at / scale;
    if (at + rowPx > real + room) this.window.scrollTop = (at + rowPx - room) / scale;
    this.render();
  }

  key(event) {
    if (event.target !== this.grid) return; // but one of the buttons that sort
    const page = Math.max(1, Math.floor(this.window.clientHeight / this.rowPx) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page,
      Home: -this.rows.length, End: this.rows.length };
    if (event.key in steps) this.go(this.current + steps[event.key]);
    else if (event.key === "Enter" && this.rows.length) this.open(this.rows[this.current]);
    else return;
    event.preventDefault();
  }

  click(event) {
    const element = event.target.closest("[role=row]");
    const goesElsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.button;
    if (!element || goesElsewhere) return; // e.g. a link into a new tab
    event.preventDefault();
    this.current = Number(element.dataset.place);
    this.open(this.rows[this.current]);
    this.render();
  }
}
