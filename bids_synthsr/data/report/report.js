'use strict';

// A volume comes as one image: its axial slices side by side, from superior to inferior. The three
// planes are drawn from it with drawImage alone, so that no pixel needs to be read back.
function startViewer(viewer) {
  const shape = viewer.dataset.shape.split(' ').map(Number);
  const columns = Number(viewer.dataset.columns);
  const screen2ras = viewer.dataset.screen2ras.split(' ').map(Number);
  const sprites = [...viewer.querySelectorAll('.sprite')];
  const choices = [...viewer.querySelectorAll('select')];
  const canvases = [...viewer.querySelectorAll('canvas')];
  const sliders = [...viewer.querySelectorAll('input[type=range]')];
  const output = viewer.querySelector('output');
  const position = shape.map((size) => Math.floor(size / 2));
  let isDrawing = false;

  const axesOf = (canvas) => [0, 1, 2].filter((axis) => axis !== Number(canvas.dataset.axis));

  function drawSlice(canvas) {
    const context = canvas.getContext('2d');
    const sprite = sprites[choices[canvas.dataset.row].value];
    const [x, y, z] = position;
    const left = (slice) => (slice % columns) * shape[0];
    const top = (slice) => Math.floor(slice / columns) * shape[1];
    context.imageSmoothingEnabled = false;
    context.setTransform(1, 0, 0, 1, 0, 0);
    if (canvas.dataset.axis === '2') {
      context.drawImage(sprite, left(z), top(z), shape[0], shape[1], 0, 0, shape[0], shape[1]);
      return;
    }
    if (canvas.dataset.axis === '0') context.setTransform(0, 1, 1, 0, 0, 0); // columns become rows
    for (let k = 0; k < shape[2]; k++) {
      if (canvas.dataset.axis === '1') {
        context.drawImage(sprite, left(k), top(k) + y, shape[0], 1, 0, k, shape[0], 1);
      } else {
        context.drawImage(sprite, left(k) + x, top(k), 1, shape[1], k, 0, 1, shape[1]);
      }
    }
  }

  function drawCrosshair(canvas) {
    const [across, down] = axesOf(canvas);
    const pane = canvas.parentElement;
    const share = (axis) => `${(100 * (position[axis] + 0.5)) / shape[axis]}%`;
    pane.querySelector('.down').style.left = share(across);
    pane.querySelector('.across').style.top = share(down);
  }

  function draw() {
    isDrawing = false;
    for (const canvas of canvases) {
      drawSlice(canvas);
      drawCrosshair(canvas);
    }
    for (const slider of sliders) slider.value = position[slider.dataset.axis];
    const ras = [0, 1, 2].map((row) => {
      const [i, j, k, offset] = screen2ras.slice(4 * row, 4 * row + 4);
      return (i * position[0] + j * position[1] + k * position[2] + offset).toFixed(1);
    });
    output.textContent = `R ${ras[0]}  A ${ras[1]}  S ${ras[2]} mm`;
  }

  function move(axis, index) {
    position[axis] = Math.min(shape[axis] - 1, Math.max(0, index));
    if (!isDrawing) requestAnimationFrame(draw);
    isDrawing = true;
  }

  function point(event) {
    const canvas = event.currentTarget;
    const box = canvas.getBoundingClientRect();
    const [across, down] = axesOf(canvas);
    move(across, Math.floor(((event.clientX - box.left) / box.width) * shape[across]));
    move(down, Math.floor(((event.clientY - box.top) / box.height) * shape[down]));
  }

  for (const canvas of canvases) {
    const axis = Number(canvas.dataset.axis);
    const step = (by, event) => {
      event.preventDefault();
      move(axis, position[axis] + by);
    };
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener('pointermove', (event) => event.buttons && point(event));
    canvas.addEventListener('wheel', (event) => {
      if (document.activeElement === canvas) step(Math.sign(event.deltaY), event);
    }, { passive: false });
    canvas.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowUp') step(-1, event);
      if (event.key === 'ArrowDown') step(1, event);
    });
  }
  for (const slider of sliders) {
    slider.addEventListener('input', () => move(Number(slider.dataset.axis), Number(slider.value)));
  }
  for (const choice of choices) choice.addEventListener('change', draw);
  viewer.hidden = false;
  for (const sprite of sprites) sprite.addEventListener('load', draw);
  draw();
}

function startCopying(button) {
  const source = document.getElementById(button.dataset.copies);
  button.addEventListener('click', () => {
    source.select();
    document.execCommand('copy'); // works in files opened from a disk, where the clipboard API may not
    button.textContent = 'Copied';
  });
}

// Rows sort by the header that is clicked, once more the other way round, and by content as people count.
function startSorting(table) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  headers.forEach((header, column) => {
    if (header.tagName !== 'TH') return; // the pictures
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener('click', () => {
      const rises = header.getAttribute('aria-sort') !== 'ascending';
      for (const other of headers) other.removeAttribute('aria-sort');
      header.setAttribute('aria-sort', rises ? 'ascending' : 'descending');
      const rows = [...body.rows].sort((one, other) =>
        valueOf(one, column).localeCompare(valueOf(other, column), 'en', { numeric: true }));
      body.append(...(rises ? rows : rows.reverse()));
    });
  });
}

function startFiltering(form) {
  const rows = [...document.querySelector('table.sortable').tBodies[0].rows];
  const words = form.querySelector('input');
  const state = form.querySelector('select');
  const shown = form.querySelector('output');
  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(wanted);
      row.hidden = !fits || (state.value !== '' && row.dataset.state !== state.value);
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
  };
  form.addEventListener('input', filter);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.hidden = false;
  filter();
}

document.querySelectorAll('table.sortable').forEach(startSorting);
document.querySelectorAll('main:not(.group) form.filters').forEach(startFiltering);
document.querySelectorAll('.viewer').forEach(startViewer);
document.querySelectorAll('.copy').forEach(startCopying);
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
