// The page for raters: one question at a time. Answers stay in this browser until they are saved.
function startRating(page) {
  const sections = [...page.querySelectorAll('.rated')];
  const rater = page.getElementById('rater');
  const place = `rating ${location.pathname} ${sections.length}`;
  const fields = ['preference', 'a_score', 'b_score', 'note'];
  const kept = readKept();
  let current = Math.max(sections.findIndex((_, at) => !isAnswered(at)), 0);

  function readKept() {
    try {
      return JSON.parse(localStorage.getItem(place)) || { rater: '', answers: {} };
    } catch { // no storage, as in a private window
      return { rater: '', answers: {} };
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(kept));
    } catch { // the answers live as long as the page
    }
  }

  function isAnswered(at) {
    const answer = kept.answers[at + 1] || {};
    return fields.slice(0, 3).every((name) => answer[name]);
  }

  function show(at) {
    current = Math.min(Math.max(at, 0), sections.length - 1);
    sections.forEach((section, number) => section.classList.toggle('shown', number === current));
    const done = sections.filter((_, number) => isAnswered(number)).length;
    page.getElementById('progress').value = done;
    page.getElementById('count').textContent = `${done} of ${sections.length} answered`;
    page.getElementById('before').disabled = current === 0;
    page.getElementById('after').disabled = current === sections.length - 1;
  }

  function choose(value) {
    const field = sections[current].querySelector(`[name=preference][value=${value}]`);
    field.checked = true;
    field.dispatchEvent(new Event('change', { bubbles: true }));
  }

  // A tab or a line end would be another column or row of the table.
  function clean(text) {
    return String(text || '').replace(/[\t\r\n]+/g, ' ').trim();
  }

  function save() {
    const lines = [['rater', 'item', ...fields].join('\t')];
    sections.forEach((_, at) => {
      const answer = kept.answers[at + 1];
      if (isAnswered(at)) {
        const values = fields.map((name) => clean(answer[name]));
        lines.push([clean(kept.rater), at + 1, ...values].join('\t'));
      }
    });
    const content = new Blob([`${lines.join('\n')}\n`], { type: 'text/tab-separated-values' });
    const link = page.createElement('a');
    link.href = URL.createObjectURL(content);
    link.download = `ratings_${clean(kept.rater).replace(/[^A-Za-z0-9]+/g, '') || 'unnamed'}.tsv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  sections.forEach((section, at) => {
    const form = section.querySelector('form');
    for (const [name, value] of Object.entries(kept.answers[at + 1] || {})) {
      for (const field of form.querySelectorAll(`[name=${name}]`)) {
        if (field.type === 'radio') field.checked = field.value === value;
        else field.value = value;
      }
    }
    form.addEventListener('change', () => {
      kept.answers[at + 1] = Object.fromEntries(new FormData(form));
      keep();
      show(at);
    });
    form.addEventListener('submit', (event) => event.preventDefault());
  });
  rater.value = kept.rater;
  rater.addEventListener('change', () => { kept.rater = rater.value; keep(); });
  page.getElementById('before').addEventListener('click', () => show(current - 1));
  page.getElementById('after').addEventListener('click', () => show(current + 1));
  page.getElementById('save').addEventListener('click', save);
  page.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isText = event.target.matches && event.target.matches('input:not([type=radio])');
    if (isText) return;
    const key = event.key.toLowerCase();
    const choices = { a: 'a', b: 'b', n: 'none' };
    if (key in choices) choose(choices[key]);
    else if (event.key === 'ArrowLeft' && !event.target.matches('[type=radio]')) show(current - 1);
    else if (event.key === 'ArrowRight' && !event.target.matches('[type=radio]')) show(current + 1);
  });
  show(current);
}

if (document.querySelector('.rated')) startRating(document);
