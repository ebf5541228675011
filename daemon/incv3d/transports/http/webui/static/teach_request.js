// Send what the viewer asks for, and show the daemon's answer or its complaint.

const byId = (id) => document.getElementById(id);
const OWN_PAGE = { "X-Incv3d-Page": "1" }; // a page from another site cannot send this

let showState = () => {};

export function onState(show) {
  showState = show;
}

// Returns the answer, or null if the daemon rejected the request: the page then says why.
export async function get(path) {
  return answer(await fetch(path, { headers: OWN_PAGE }).catch(() => null));
}

// The answer to every such request is the new state. Returns whether it was accepted.
export async function post(path, body) {
  const data = body instanceof Blob ? body : JSON.stringify(body ?? {});
  const response = await fetch(path, { method: "POST", body: data, headers: OWN_PAGE }).catch(() => null);
  const state = await answer(response);
  if (state) showState(state);
  return state !== null;
}

async function answer(response) {
  if (response?.status === 401) {
    location.assign("/login");
    return null;
  }
  const content = await response?.json().catch(() => null);
  complain(response?.ok ? "" : (content?.detail ?? "The daemon does not answer."));
  return response?.ok ? content : null;
}

export function complain(problem) {
  byId("trouble").hidden = !problem;
  byId("trouble").textContent = problem;
}
