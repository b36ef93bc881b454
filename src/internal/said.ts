/** An error that is made and not thrown: where that was would tell nobody anything, so it has no frames. */
export const said = (words: string, cause?: Error): Error => {
  const error = cause === undefined ? new Error(words) : new Error(words, { cause })
  error.stack = `Error: ${words}`
  return error
}
