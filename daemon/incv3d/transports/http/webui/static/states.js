// The states of a source, in words.

const WORDS = {
  opening: "opening",
  ok: "ok",
  refused: "frames are rejected",
  stalled: "stalled",
  reopening: "failing, is opened again",
  absent: "absent",
  ended: "ended",
  asleep: "asleep",
};

export function wordOf({ state }) {
  return WORDS[state] ?? state;
}

export function stateOf(source) {
  return source.reason ? `${wordOf(source)}: ${source.reason}` : wordOf(source);
}

export function isFine({ state }) {
  return state === "ok" || state === "asleep";
}
