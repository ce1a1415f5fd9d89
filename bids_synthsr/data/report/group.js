// The page of a group: strips of points for every measure, and a table with ratings. All values
// come as one list for each measure, in the order of the exams.
function startGroup(page) {
  const data = JSON.parse(document.getElementById('group-data').textContent);
  const count = data.exams.length;
  const every = [...Array(count).keys()];
  const rowsAtOnce = 200;
  const farOut = 3.5;
  const ratings = loadRatings();

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  // How far every exam is from the median, in robust standard deviations; volumes as shares.
  function distances(name) {
    const values = data.measures[name];
    const whole = data.measures[data.intracranial];
    const isShare = data.volumes.includes(name) && name !== data.intracranial && whole;
    const shares = values.map((value, i) => {
      if (value === null || (isShare && !whole[i])) return null;
      return isShare ? value / whole[i] : value;
    });
    const known = shares.filter((value) => value !== null);
    if (known.length < 5) return shares.map(() => 0);
    const middle = median(known);
    const spread = 1.4826 * median(known.map((value) => Math.abs(value - middle)));
    return shares.map((value) => (value === null || spread === 0 ? 0 : (value - middle) / spread));
  }

  const names = Object.keys(data.measures);
  const far = Object.fromEntries(names.map((name) => [name, distances(name)]));
  const odd = every.map((i) => {
    let [oddest, most] = ['', 0];
    for (const name of names) {
      if (Math.abs(far[name][i]) > Math.abs(most)) [oddest, most] = [name, far[name][i]];
    }
    return { name: oddest, value: most };
  });

  // The browser keeps what was changed here, with what it was before: where the file beside the
  // page has come to say something else, the file is right.
  function loadRatings() {
    const known = { ...data.ratings };
    for (const [exam, kept] of Object.entries(readKept())) {
      if (kept.before === JSON.stringify(data.ratings[exam] ?? null)) known[exam] = kept.now;
    }
    return known;
  }

  function readKept() {
    try {
      return JSON.parse(localStorage.getItem(`ratings ${location.pathname}`)) || {};
    } catch { // no storage, as in a private window
      return {};
    }
  }

  function keepRating(exam) {
    const kept = readKept();
    kept[exam] = { before: JSON.stringify(data.ratings[exam] ?? null), now: ratings[exam] };
    try {
      localStorage.setItem(`ratings ${location.pathname}`, JSON.stringify(kept));
    } catch { /* they can still be saved to a file */ }
  }

  function make(tag, attributes = {}, text = '') {
    const isDrawn = ['svg', 'g', 'circle', 'line', 'text', 'a', 'title'].includes(tag) && attributes.drawn;
    const element = isDrawn
      ? document.createElementNS('http://www.w3.org/2000/svg', tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name !== 'drawn') element.setAttribute(name, value);
    }
    if (text) element.textContent = text;
    return element;
  }

  const draw = (tag, attributes, text) => make(tag, { ...attributes, drawn: true }, text);
  const write = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));

  const titleOf = (name) => (name === 'score' ? 'estimated quality' : name);

  // --- strips of points ---
  const controls = page.querySelector('form.measures');
  const [measure, column] = [controls.elements.measure, controls.elements.column];
  const strips = page.querySelector('.strips');

  function drawStrips() {
    const values = data.measures[measure.value];
    const parts = data.columns[column.value];
    const levels = parts ? [...new Set(parts)].sort() : [''];
    const known = every.filter((i) => values[i] !== null && values[i] !== undefined);
    const [low, high] = known.reduce(
      ([a, b], i) => [Math.min(a, values[i]), Math.max(b, values[i])], [Infinity, -Infinity]);
    const span = high > low ? high - low : 1;
    const width = 900;
    const [left, top, bottom] = [70, 15, 250];
    const step = (width - left) / levels.length;
    const y = (value) => bottom - ((value - low) / span) * (bottom - top);
    const svg = draw('svg', {
      viewBox: `0 0 ${width} 300`, role: 'group', 'aria-label': `${measure.value} of ${known.length} exams`,
    });
    for (let tick = 0; tick <= 4; tick++) {
      const value = low + (span * tick) / 4;
      svg.append(
        draw('line', { class: 'grid', x1: left, x2: width, y1: y(value), y2: y(value) }),
        draw('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, write(value)));
    }
    levels.forEach((level, number) => {
      const own = known.filter((i) => !parts || parts[i] === level);
      const center = left + step * (number + 0.5);
      const title = `${level || (parts ? 'n/a' : 'all')} (${own.length})`;
      const room = Math.max(Math.floor(step / 7), 6);
      const shown = title.length > room ? `${title.slice(0, room - 1)}…` : title;
      const name = draw('text', { x: center, y: 275, 'text-anchor': 'middle' }, shown);
      name.append(draw('title', {}, title));
      svg.append(name);
      const spread = Math.min(step * 0.38, 8 * Math.sqrt(own.length));
      for (const i of own) {
        const aside = ((i * 0.618034) % 1) * 2 - 1; // always the same, and even
        const isFar = Math.abs(far[measure.value][i]) > farOut;
        const point = draw('circle', {
          cx: (center + aside * spread).toFixed(1), cy: y(values[i]).toFixed(1), r: isFar ? 5 : 3.5,
          class: isFar ? 'far' : '',
        });
        const about = `${data.exams[i]}: ${write(values[i])} ${data.units[measure.value] || ''}`;
        point.append(draw('title', {}, about));
        if (data.pages[i]) {
          const link = draw('a', { href: `./${encodeURIComponent(data.pages[i])}`, 'aria-label': about, tabindex: isFar ? 0 : -1 });
          link.append(point);
          svg.append(link);
        } else svg.append(point);
      }
      if (own.length) {
        const at = y(median(own.map((i) => values[i])));
        svg.append(draw('line', { class: 'median', x1: center - step * 0.3, x2: center + step * 0.3, y1: at, y2: at }));
      }
    });
    strips.replaceChildren(svg);
    const unit = data.units[measure.value] ? ` (${data.units[measure.value]})` : '';
    page.querySelector('.about').textContent = data.about[measure.value] || `Volume of ${measure.value}${unit}.`;
    const marked = known.filter((i) => Math.abs(far[measure.value][i]) > farOut).length;
    controls.querySelector('output').textContent = `${known.length} exams, ${marked} far out`;
  }

  // --- table of exams ---
  const search = page.querySelector('form.exams');
  const body = page.querySelector('table.exams tbody');
  const more = page.querySelector('button.more');
  let order = { key: 'score', isRising: true };
  let shown = rowsAtOnce;

  const valueOf = {
    exam: (i) => data.exams[i],
    state: (i) => data.states[i],
    // what is not there comes before the worst of what is
    score: (i) => data.measures.score?.[i] ?? (data.states[i] === 'finished' ? -0.5 : -1),
    odd: (i) => -Math.abs(odd[i].value),
    method: (i) => data.methods[i],
    rating: (i) => -(ratings[data.exams[i]]?.rating ?? 0),
  };

  function rate(exam, change) {
    ratings[exam] = { ...ratings[exam], ...change };
    keepRating(exam);
  }

  function rowOf(i) {
    const exam = data.exams[i];
    const row = make('tr');
    const head = make('th', { scope: 'row' });
    if (data.pages[i]) head.append(make('a', { href: `./${encodeURIComponent(data.pages[i])}` }, exam));
    else head.textContent = exam;
    const state = make('td');
    const look = { finished: 'complete', failed: 'failed' }[data.states[i]] || 'warned';
    state.append(make('span', { class: `state ${look}` }, data.states[i]));
    const score = data.measures.score?.[i];
    const isOdd = Math.abs(odd[i].value) > farOut;
    const rating = make('select', { 'aria-label': `Rating of ${exam}` });
    for (const [value, text] of [['', '–'], [1, '1 good'], [2, '2 doubtful'], [3, '3 unusable']]) {
      const option = make('option', { value }, text);
      option.selected = String(ratings[exam]?.rating ?? '') === String(value);
      rating.append(option);
    }
    rating.addEventListener('change', () => rate(exam, { rating: rating.value ? Number(rating.value) : null }));
    const note = make('input', { type: 'text', 'aria-label': `Note on ${exam}` });
    note.value = ratings[exam]?.note ?? '';
    note.addEventListener('change', () => rate(exam, { note: note.value }));
    const cells = [rating, note].map((field) => {
      const cell = make('td');
      cell.append(field);
      return cell;
    });
    row.append(
      head, state, make('td', { class: 'number' }, score === null || score === undefined ? '–' : score.toFixed(2)),
      make('td', { class: `number${isOdd ? ' odd' : ''}` }, odd[i].name ? `${titleOf(odd[i].name)} ${odd[i].value.toFixed(1)} sd` : '–'),
      make('td', {}, valueOf.method(i) || '–'), make('td', { class: 'reason' }, data.reasons[i] || '–'), ...cells);
    return row;
  }

  function fill() {
    const text = search.elements.text.value.toLowerCase();
    const state = search.elements.state.value;
    const found = every.filter((i) => (!state || data.states[i] === state)
      && (!text || `${data.exams[i]} ${data.reasons[i]} ${valueOf.method(i)}`.toLowerCase().includes(text)));
    const [key, sign] = [valueOf[order.key], order.isRising ? 1 : -1];
    found.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
    });
    body.replaceChildren(...found.slice(0, shown).map(rowOf));
    more.hidden = found.length <= shown;
    more.textContent = `Show more (${found.length - shown} left)`;
    search.querySelector('output').textContent = `${found.length} of ${count} exams`;
    for (const button of page.querySelectorAll('table.exams th button')) {
      const isSorted = button.dataset.key === order.key;
      if (isSorted) button.parentElement.setAttribute('aria-sort', order.isRising ? 'ascending' : 'descending');
      else button.parentElement.removeAttribute('aria-sort');
    }
  }

  function save() {
    const content = new Blob([`${JSON.stringify(ratings, null, 2)}\n`], { type: 'application/json' });
    const link = make('a', { href: URL.createObjectURL(content), download: 'group_ratings.json' });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  for (const name of names) measure.append(make('option', { value: name }, titleOf(name)));
  for (const name of Object.keys(data.columns)) column.append(make('option', { value: name }, name));
  if (data.first in data.columns) column.value = data.first;
  for (const form of [controls, search]) {
    form.hidden = false;
    form.addEventListener('submit', (event) => event.preventDefault());
  }
  controls.addEventListener('change', drawStrips);
  search.addEventListener('input', () => { shown = rowsAtOnce; fill(); });
  search.elements.save.addEventListener('click', save);
  more.addEventListener('click', () => { shown += rowsAtOnce; fill(); });
  for (const button of page.querySelectorAll('table.exams th button')) {
    button.addEventListener('click', () => {
      const { key } = button.dataset;
      order = { key, isRising: order.key === key ? !order.isRising : true };
      fill();
    });
  }
  if (names.length) drawStrips();
  else strips.textContent = 'No exam is finished yet.';
  fill();
  addEventListener('beforeprint', () => { shown = Math.min(count, 1000); fill(); });
  addEventListener('afterprint', () => { shown = rowsAtOnce; fill(); });
}

for (const page of document.querySelectorAll('main.group')) startGroup(page);
