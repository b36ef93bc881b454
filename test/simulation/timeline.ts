/**
 * Virtual time. What is to happen lies in one heap; the soonest is next, and of two at the same moment the one that was
 * put in first. No real time passes and nothing else decides an order, so a run is the same each time.
 */
export interface Item {
  /** In milliseconds. */
  readonly at: number
  readonly order: number
  readonly run: () => void
  cancelled: boolean
}

const isBefore = (a: Item, b: Item): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

export class Timeline {
  now = 0
  private made = 0
  private readonly heap: Array<Item> = []

  at(time: number, run: () => void): Item {
    const item: Item = { at: Math.max(time, this.now), order: this.made++, run, cancelled: false }
    let place = this.heap.push(item) - 1
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (isBefore(this.heap[parent]!, item)) break
      this.heap[place] = this.heap[parent]!
      place = parent
    }
    this.heap[place] = item
    return item
  }

  after(millis: number, run: () => void): Item {
    return this.at(this.now + millis, run)
  }

  /** Lets the next thing happen. False when nothing is left. */
  step(): boolean {
    const item = this.pop()
    if (item === undefined) return false
    if (item.cancelled) return this.step()
    this.now = item.at
    item.run()
    return true
  }

  /** What was to happen will not. */
  protected clear(): void {
    this.heap.length = 0
  }

  private pop(): Item | undefined {
    const first = this.heap[0]
    const last = this.heap.pop()
    if (first === undefined || last === undefined || this.heap.length === 0) return first
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      if (left >= this.heap.length) break
      const right = left + 1
      const child = right < this.heap.length && isBefore(this.heap[right]!, this.heap[left]!) ? right : left
      if (isBefore(last, this.heap[child]!)) break
      this.heap[place] = this.heap[child]!
      place = child
    }
    this.heap[place] = last
    return first
  }
}
