/** How a server in memory forgets what nobody looks at any more, without ever looking at all of it. */

/**
 * Looks at the two that were not looked at for longest, and forgets those that are over. To be called for each one that a
 * step may have made: so they do not pile up.
 */
export const forgetOldest = <A>(all: Map<string, A>, isOver: (one: A) => boolean): void => {
  let looks = 2
  for (const [name, one] of all) {
    all.delete(name)
    if (!isOver(one)) all.set(name, one)
    if (--looks === 0) return
  }
}
