/** What is made at its first use: an import is to cost little, and few programs use all there is. */
export const lazy = <A extends object | string>(make: () => A): () => A => {
  let made: A | undefined
  return () => made ??= make()
}
