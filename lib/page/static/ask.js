// Requests to this server, relative to the page, so that they work behind a proxy's path too.

// The sentence that every failure of the server has.
async function sentence(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return `The server answered with status ${answer.status}`;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const error = new Error(await sentence(answer));
  error.status = answer.status;
  throw error;
}

// The values, and a tag that changes with them; the browser's cache sends the last tag along.
export async function get(path) {
  const answer = await ask(path, { headers: { Accept: 'application/json' } });
  return { values: await answer.json(), tag: answer.headers.get('ETag') };
}

export async function send(method, path) {
  return (await ask(path, { method })).json();
}

// Has the server make this picture, so that an <img> finds it ready. Throws its sentence if it cannot; with `later`, the
// seconds after which to ask again, if only not now.
export async function ready(path) {
  const answer = await ask(path);
  if (answer.status !== 202) {
    await answer.blob();
    return;
  }
  const error = new Error(await sentence(answer));
  error.later = Number(answer.headers.get('Retry-After'));
  throw error;
}
