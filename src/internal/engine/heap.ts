/**
 * A binary heap of the things that want to be looked at, soonest first. Each knows its own place, so it can be moved and
 * removed in O(log n).
 */
export interface Waking {
  /** When to look at it. Change it through `schedule` only. */
  wakeAt: number
  /** Place in the heap; -1 when it is in none. */
  place: number
}

export interface Heap<A extends Waking> {
  readonly peek: () => A | undefined
  /** Puts it in, or moves it. `Infinity` takes it out. */
  readonly schedule: (item: A, wakeAt: number) => void
}

export const make = <A extends Waking>(): Heap<A> => {
  const items: Array<A> = []

  const put = (item: A, place: number): void => {
    items[place] = item
    item.place = place
  }
  const up = (item: A, from: number): number => {
    let place = from
    while (place > 0) {
      const parent = items[(place - 1) >> 1]
      if (parent === undefined || parent.wakeAt <= item.wakeAt) break
      const parentPlace = parent.place
      put(parent, place)
      place = parentPlace
    }
    return place
  }
  const down = (item: A, from: number): number => {
    let place = from
    for (;;) {
      const left = items[2 * place + 1]
      const right = items[2 * place + 2]
      const child = right !== undefined && left !== undefined && right.wakeAt < left.wakeAt ? right : left
      if (child === undefined || child.wakeAt >= item.wakeAt) return place
      const childPlace = child.place
      put(child, place)
      place = childPlace
    }
  }
  const sift = (item: A, place: number): void => {
    put(item, place)
    put(item, down(item, up(item, place)))
  }
  const remove = (item: A): void => {
    const place = item.place
    const last = items.pop()
    item.place = -1
    if (last !== undefined && last !== item) sift(last, place)
  }

  return {
    peek: () => items[0],
    schedule: (item, wakeAt) => {
      item.wakeAt = wakeAt
      if (wakeAt === Infinity) {
        if (item.place >= 0) remove(item)
      } else {
        sift(item, item.place >= 0 ? item.place : items.length)
      }
    }
  }
}
