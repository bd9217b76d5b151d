// The answer: what is decided at a moment, from which modalities, over time, with the words. Names only ever become text.
const SVG = "http://www.w3.org/2000/svg";
const STYLES = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"];
const MOST_LIVE = 120; // windows that are kept of a stream
const at = (id) => document.getElementById(id);
const make = (name, text = "", attributes = {}) => {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const draw = (name, attributes) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const seconds = (value) => `${value.toFixed(1)} s`;
const signed = (value) => (Math.abs(value) < 0.0005 ? "0.000" : `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`);
const number = (value) => value.toFixed(2).replace("-", "\u2212");

export class Answer {
  constructor(about) {
    this.about = about;
    this.modalities = Object.keys(about.modalities);
    this.isNumbers = about.kind === "regression";
    this.off = new Set();
    this.clear();
    for (const modality of this.modalities) {
      const button = make("button", modality, { type: "button", "aria-pressed": "true", "data-modality": modality });
      button.addEventListener("click", () => this.toggle(modality));
      at("toggles").append(button);
    }
    at("moments").addEventListener("input", () => this.choose(Number(at("moments").value)));
    at("plot").addEventListener("click", (event) => {
      const box = at("plot").getBoundingClientRect();
      this.seek(this.start + ((event.clientX - box.left) / box.width) * (this.end - this.start));
    });
    about.classes.forEach((name, c) => {
      if (c >= STYLES.length) return;
      const line = draw("svg", { viewBox: "0 0 32 8" });
      line.append(draw("path", { d: "M0 4H32", class: STYLES[c], "stroke-width": 2 }));
      const item = make("li");
      item.append(line, name);
      at("legend").append(item);
    });
  }

  clear() {
    this.segments = [];
    this.words = null;
    this.missing = {};
    this.problems = [];
    this.chosen = 0;
  }

  show({ segments, words, missing, problems }) {
    this.clear();
    Object.assign(this, { segments, words, missing, problems });
    this.chosen = Math.max(0, segments.findIndex((segment) => segment.present.length));
    this.render();
  }

  add(segment) {
    const isLast = this.chosen >= this.segments.length - 1;
    this.segments.push(segment);
    if (this.segments.length > MOST_LIVE) this.segments.shift();
    if (isLast) this.chosen = this.segments.length - 1;
    this.missing = segment.missing ?? {};
    this.render();
  }

  get start() { return this.segments[0]?.start ?? 0; }

  get end() { return Math.max(this.start + 0.1, ...this.segments.map((segment) => segment.end)); }

  seek(moment) {
    const middle = (segment) => Math.abs((segment.start + segment.end) / 2 - moment);
    let nearest = 0;
    this.segments.forEach((segment, n) => { if (middle(segment) < middle(this.segments[nearest])) nearest = n; });
    if (this.segments.length) this.choose(nearest);
  }

  choose(n) {
    if (n === this.chosen) return;
    this.chosen = n;
    this.render();
  }

  toggle(modality) {
    this.off.has(modality) ? this.off.delete(modality) : this.off.add(modality);
    this.render();
  }

  // The values of a segment from the modalities that are on; null where none of those that are on is there.
  values(segment) {
    const heard = segment.present.filter((modality) => !this.off.has(modality));
    if (!heard.length) return null;
    const whole = this.isNumbers ? segment.numbers : segment.probabilities;
    return heard.length === segment.present.length ? whole : segment.configurations?.[heard.join("+")] ?? null;
  }

  decided(values) {
    if (values === null) return "no evidence";
    if (this.isNumbers) return Object.entries(values).map(([name, value]) => `${name} ${number(value)}`).join(", ");
    const thresholds = this.about.thresholds;
    if (thresholds) {
      return Object.keys(values).filter((name) => values[name] >= thresholds[name]).join(" + ") || "none of them";
    }
    return Object.keys(values).reduce((best, name) => (values[name] > values[best] ? name : best));
  }

  render() {
    const segment = this.segments[this.chosen];
    at("answer").hidden = !segment;
    if (!segment) return;
    const values = this.values(segment);
    const whole = segment.present.length ? (this.isNumbers ? segment.numbers : segment.probabilities) : null;
    const decided = this.decided(values);
    const sure = !this.isNumbers && !this.about.thresholds && values ? `, ${number(values[decided])}` : "";
    at("moment").textContent = `${seconds(segment.start)} to ${seconds(segment.end)}`;
    at("decided").textContent = decided + sure;
    this.sayChange(segment, decided, whole);
    this.renderToggles(segment);
    this.renderClasses(values, whole, decided);
    this.renderPlot(segment);
    this.renderWords(segment);
    this.renderShares(segment);
    this.renderTable();
    const alarms = Object.keys(segment.alarms ?? {});
    at("alarm").hidden = !alarms.length;
    at("alarm").textContent = alarms.map((name) => alarmSentence(name, segment.present)).join(" ");
    at("problems").replaceChildren(
      ...Object.entries(segment.missing ?? this.missing).map(([name, why]) => make("li", `${name} is missing: ${why}.`)),
      ...this.problems.map((problem) => make("li", `${problem}.`)),
    );
  }

  sayChange(segment, decided, whole) {
    const without = segment.present.filter((modality) => this.off.has(modality));
    if (!without.length) at("changed").textContent = "";
    else if (without.length === segment.present.length) at("changed").textContent = "Everything that is there is switched off.";
    else {
      const before = this.decided(whole);
      const verb = before === decided ? "still" : `instead of ${before},`;
      at("changed").textContent = `Without ${without.join(" and ")}: ${verb} ${decided}.`;
    }
  }

  renderToggles(segment) {
    for (const button of at("toggles").children) {
      const modality = button.dataset.modality;
      button.disabled = !segment.present.includes(modality);
      button.setAttribute("aria-pressed", String(!this.off.has(modality)));
      button.title = button.disabled ? "It is not there" : "Switch it off or on";
    }
  }

  // Of numbers, bars go from the least to the largest value of all windows.
  get range() {
    if (!this.isNumbers) return [0, 1];
    const all = this.segments.flatMap((segment) => Object.values(this.values(segment) ?? {}));
    const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
    return high > low ? [low, high] : [low - 1, high + 1];
  }

  renderClasses(values, whole, decided) {
    const [low, high] = this.range;
    const part = (value) => Math.max(0, Math.min(1, (value - low) / (high - low)));
    at("classes").replaceChildren(...this.about.classes.map((name) => {
      const row = make("tr");
      const is = !this.isNumbers && decided.split(" + ").includes(name);
      row.classList.toggle("here", is);
      const value = values?.[name];
      row.append(make("th", name, { scope: "row" }), bar(value === undefined ? "\u2013" : number(value), (fill, track) => {
        fill.style.setProperty("--v", value === undefined ? 0 : part(value));
        if (whole && values !== whole) {
          const mark = make("b");
          mark.style.setProperty("--v", part(whole[name]));
          track.append(mark);
        }
      }));
      return row;
    }));
  }

  renderPlot(segment) {
    const [low, high] = this.range;
    const x = (moment) => ((moment - this.start) / (this.end - this.start)) * 1000;
    const y = (value) => (1 - (value - low) / (high - low)) * 1000;
    const svg = draw("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none" });
    this.about.classes.slice(0, STYLES.length).forEach((name, c) => {
      let path = "";
      let pen = "M";
      for (const one of this.segments) {
        const value = this.values(one)?.[name];
        if (value === undefined) { pen = "M"; continue; }
        if (this.segments.length === 1) path += `M0 ${y(value)}H1000`;
        else path += `${pen}${x((one.start + one.end) / 2)} ${y(value)}`;
        pen = "L";
      }
      if (path) svg.append(draw("path", { d: path, class: STYLES[c] }));
    });
    const middle = x((segment.start + segment.end) / 2);
    svg.append(draw("path", { d: `M${middle} 0V1000`, class: "cursor" }));
    const label = (kind, text, value) => {
      const element = make("span", text, { class: kind });
      element.style.setProperty("--v", value);
      return element;
    };
    const ends = this.isNumbers ? [number(low), number(high)] : ["0", "1"];
    at("plot").replaceChildren(
      svg, label("y", ends[0], 0), label("y", ends[1], 1),
      label("x", seconds(this.start), 0), label("x", seconds(this.end), 1),
    );
    const slider = at("moments");
    slider.max = String(this.segments.length - 1);
    slider.value = String(this.chosen);
    slider.setAttribute("aria-valuetext", `${seconds(segment.start)} to ${seconds(segment.end)}: ${at("decided").textContent}`);
    slider.closest("p").hidden = this.segments.length < 2;
  }

  renderWords(segment) {
    const words = this.words ?? [];
    if (!words.length) {
      at("said").textContent = segment.words || "It is not known what is said.";
      return;
    }
    at("said").replaceChildren(...words.flatMap((word) => {
      const span = make("span", word.text);
      span.classList.toggle("now", word.end > segment.start && word.start < segment.end);
      return [span, " "];
    }));
  }

  renderShares(segment) {
    at("explained").textContent = segment.explained
      ? `What each modality adds to ${this.isNumbers ? "" : "the probability of "}${segment.explained}, beyond how frequent it is (Shapley values).`
      : "There is nothing to explain.";
    const largest = Math.max(1e-9, ...this.segments.flatMap((one) => Object.values(one.shapley ?? {}).map(Math.abs)));
    at("shares").replaceChildren(...this.modalities.map((name) => {
      const row = make("tr");
      const value = segment.shapley?.[name];
      row.append(make("th", name, { scope: "row" }), bar(value === undefined ? "not there" : signed(value), (fill) => {
        fill.hidden = value === undefined;
        const size = Math.abs(value ?? 0) / largest / 2;
        fill.className = (value ?? 0) < 0 ? "down" : "up";
        fill.style.setProperty("--v", (value ?? 0) < 0 ? 0.5 - size : 0.5);
        fill.style.setProperty("--w", size);
      }));
      return row;
    }));
  }

  renderTable() {
    const head = make("tr");
    for (const text of ["Seconds", "Decided", ...this.about.classes, ...this.modalities.map((name) => `${name} adds`), "Words"]) {
      head.append(make("th", text, { scope: "col" }));
    }
    const rows = this.segments.map((segment) => {
      const values = this.values(segment);
      const row = make("tr");
      row.append(make("th", `${segment.start.toFixed(1)}\u2013${segment.end.toFixed(1)}`, { scope: "row" }));
      row.append(make("td", this.decided(values), { class: "left" }));
      for (const name of this.about.classes) row.append(make("td", values ? number(values[name]) : "\u2013"));
      for (const name of this.modalities) row.append(make("td", segment.shapley?.[name] === undefined ? "\u2013" : signed(segment.shapley[name])));
      row.append(make("td", segment.words, { class: "left" }));
      return row;
    });
    const thead = make("thead");
    const tbody = make("tbody");
    thead.append(head);
    tbody.append(...rows);
    at("all").replaceChildren(thead, tbody);
  }
}

function alarmSentence(name, present) {
  const pair = name.split("+");
  if (pair.length > 1) return `${pair.join(" and ")} do not fit each other: one of them may be of something else.`;
  return `${name} is unlike what the run was trained on${present.includes(name) ? "" : ", and is read as missing"}.`;
}

function bar(text, fill) {
  const cell = make("td");
  const measure = make("div", "", { class: "measure" });
  const track = make("span", "", { class: "bar" });
  const filled = make("i");
  track.append(filled);
  fill(filled, track);
  measure.append(make("span", text), track);
  cell.append(measure);
  return cell;
}
