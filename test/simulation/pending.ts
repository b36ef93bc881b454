/** A promise that calls back at once when it is settled, and not in a microtask of the host: so nothing runs by itself. */
type Settled<A> = { readonly ok: true; readonly value: A } | { readonly ok: false; readonly error: unknown }

export class Pending<A> implements PromiseLike<A> {
  private settled: Settled<A> | undefined
  private callbacks: Array<(settled: Settled<A>) => void> = []

  settle(settled: Settled<A>): void {
    if (this.settled !== undefined) return
    this.settled = settled
    for (const callback of this.callbacks.splice(0)) callback(settled)
  }

  then<B = A, C = never>(
    onValue?: ((value: A) => B | PromiseLike<B>) | null,
    onError?: ((error: any) => C | PromiseLike<C>) | null
  ): Pending<B | C> {
    const next = new Pending<any>()
    const pass = (value: unknown): void => {
      if (value instanceof Pending) value.then(pass, (error) => next.settle({ ok: false, error }))
      else next.settle({ ok: true, value })
    }
    const run = (settled: Settled<A>): void => {
      if (settled.ok) pass(onValue ? onValue(settled.value) : settled.value)
      else if (onError) pass(onError(settled.error))
      else next.settle(settled)
    }
    if (this.settled === undefined) this.callbacks.push(run)
    else run(this.settled)
    return next
  }

  catch<C>(onError: (error: any) => C | PromiseLike<C>): Pending<A | C> {
    return this.then(undefined, onError)
  }
}
