// The time left, as it is shown: it counts down by itself between frames, and a frame that says a little more makes it go slower
// instead of jumping up. No page, no clock of its own.

/** `ends`: when the run should be done; `heard`: when that was last told. Both in milliseconds of this browser's clock. */
export const NO_ETA = { ends: null, heard: null };

/** A rise up to this part of what is left, or up to so many milliseconds, is small. */
const SMALL = { part: 0.35, ms: 5_000 };
/** While a rise is made up for, two seconds pass for each one that is counted down. */
const SLOWED_TO = 0.5;
/** Each frame brings it halfway to a smaller value. */
const FALL_BY = 0.5;

/** After a frame that says `seconds` (`null`: nobody knows). */
export function aim(eta, seconds, now) {
  if (seconds === null) return NO_ETA;
  const told = now + seconds * 1000;
  if (eta.ends === null) return { ends: told, heard: now };
  const rise = told - eta.ends;
  if (rise <= 0) return { ends: eta.ends + rise * FALL_BY, heard: now };
  if (rise > Math.max(SMALL.ms, (eta.ends - now) * SMALL.part)) return { ends: told, heard: now };
  return { ends: eta.ends + Math.min(rise, (now - eta.heard) * SLOWED_TO), heard: now };
}

/** Whole seconds that are left, `null` if nobody knows. */
export const left = (eta, now) => (eta.ends === null ? null : Math.max(0, Math.ceil((eta.ends - now) / 1000)));
