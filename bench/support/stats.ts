/** Medians rather than means: the machine does other things meanwhile. */

/** The value below which that share of the values lies. */
export const quantile = (values: ArrayLike<number>, share: number): number => {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

export const median = (values: ReadonlyArray<number>): number => {
  const middle = values.length / 2
  return (quantile(values, 0.5) + quantile(values, (Math.ceil(middle) - 1) / values.length)) / 2
}

export const sum = (values: ReadonlyArray<number>): number => values.reduce((a, b) => a + b, 0)

/** Jain's fairness index: 1 when all have the same, 1 / n when one has it all. */
export const jain = (shares: ReadonlyArray<number>): number =>
  sum(shares) ** 2 / (shares.length * sum(shares.map((share) => share ** 2)))
