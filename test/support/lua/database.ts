/** What a Redis in memory keeps: strings, hashes and sorted sets, each until its time is over. Strings are bytes. */

export type Hash = Map<string, string>

/** Members in the order of their scores, and of their bytes where these are equal. */
export class SortedSet {
  readonly scores = new Map<string, number>()
  readonly members: Array<string> = []

  get size(): number {
    return this.members.length
  }

  /** How many members come before that one would. */
  private place(score: number, member: string): number {
    let [from, to] = [0, this.members.length]
    while (from < to) {
      const middle = (from + to) >> 1
      const other = this.members[middle]!
      const otherScore = this.scores.get(other)!
      if (otherScore < score || (otherScore === score && other < member)) from = middle + 1
      else to = middle
    }
    return from
  }

  set(member: string, score: number): void {
    this.delete(member)
    this.members.splice(this.place(score, member), 0, member)
    this.scores.set(member, score)
  }

  delete(member: string): boolean {
    const score = this.scores.get(member)
    if (score === undefined) return false
    this.members.splice(this.place(score, member), 1)
    return this.scores.delete(member)
  }

  rank(member: string): number | undefined {
    const score = this.scores.get(member)
    return score === undefined ? undefined : this.place(score, member)
  }

  copy(): SortedSet {
    const copy = new SortedSet()
    copy.members.push(...this.members)
    for (const [member, score] of this.scores) copy.scores.set(member, score)
    return copy
  }
}

export type Value = string | Hash | SortedSet

export interface Entry {
  value: Value
  /** In milliseconds of the server's clock; `Infinity` for a key that stays. */
  expiresAt: number
}

/** What a command says instead of an answer. */
export class Refusal extends Error {}

export const wrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"

export class Database {
  readonly entries = new Map<string, Entry>()

  /** `millis` is the server's clock. `onChange` hears of every key that was written, deleted or has expired. */
  constructor(
    readonly millis: () => number,
    readonly keysExpire = true,
    readonly onChange: (key: string) => void = () => {}
  ) {}

  isPast(expiresAt: number): boolean {
    return this.keysExpire && expiresAt <= this.millis()
  }

  get(key: string): Entry | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined || !this.isPast(entry.expiresAt)) return entry
    this.delete(key)
    return undefined
  }

  delete(key: string): boolean {
    const isThere = this.entries.delete(key)
    if (isThere) this.onChange(key)
    return isThere
  }

  set(key: string, value: Value, expiresAt: number): void {
    this.entries.set(key, { value, expiresAt })
    this.onChange(key)
  }

  string(key: string): string | undefined {
    const value = this.get(key)?.value
    if (value === undefined || typeof value === "string") return value
    throw new Refusal(wrongType)
  }

  hash(key: string): Hash | undefined {
    const value = this.get(key)?.value
    if (value === undefined || value instanceof Map) return value
    throw new Refusal(wrongType)
  }

  sortedSet(key: string): SortedSet | undefined {
    const value = this.get(key)?.value
    if (value === undefined || value instanceof SortedSet) return value
    throw new Refusal(wrongType)
  }

  /** Nothing empty stays. */
  changed(key: string, { size }: Hash | SortedSet): void {
    if (size === 0) this.delete(key)
    else this.onChange(key)
  }

  clear(): void {
    for (const key of [...this.entries.keys()]) this.delete(key)
  }

  /** Puts back what is there now. */
  snapshot(): () => void {
    const copy = [...this.entries].map(([key, { expiresAt, value }]) => [key, copyOf(value), expiresAt] as const)
    return () => {
      this.clear()
      for (const [key, value, expiresAt] of copy) this.set(key, copyOf(value), expiresAt)
    }
  }
}

const copyOf = (value: Value): Value =>
  typeof value === "string" ? value : value instanceof Map ? new Map(value) : value.copy()
