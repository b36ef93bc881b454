/** Names that nobody can guess. A service knows its own, however long ago it made them. */

/** 122 random bits. */
export const makeSecret = (): string => globalThis.crypto.randomUUID()

export interface Tokens {
  readonly make: () => string
  /** Tells a message that comes late from one that was never meant for this service. */
  readonly isOwn: (token: string) => boolean
}

/** Those of one service begin alike, with a secret of their own. That leaves 90 random bits to each. */
export const make = (secret: () => string): Tokens => {
  const mark = secret().slice(0, 8)
  return { make: () => mark + secret().slice(8), isOwn: (token) => token.startsWith(mark) }
}
