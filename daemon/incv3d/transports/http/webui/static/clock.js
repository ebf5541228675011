// The daemon's clock: a phone's may be wrong by hours.

let ahead_s = 0;

export const serverClock = {
  set(now) {
    ahead_s = now - Date.now() / 1000;
  },
  now() {
    return Date.now() / 1000 + ahead_s;
  },
};

export function ago(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s ago`;
  return `${lasting(seconds)} ago`;
}

export function lasting(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
