/**
 * Deliberate mistakes, each in one place: a rule of docs/protocol.md that is not kept any more, or a promise that is not.
 * Every one must be found, by the simulation or by a suite. `find` occurs exactly once in its file.
 */
export interface Mutation {
  readonly name: string
  /** The rule that it breaks. */
  readonly rule: string
  /** From the root of the project. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

type Row = readonly [name: string, rule: string, find: string, replace: string]

const inFile = (file: string, rows: ReadonlyArray<Row>): ReadonlyArray<Mutation> =>
  rows.map(([name, rule, find, replace]) => ({ name, rule, file, find, replace }))

const keeper = inFile("src/internal/engine/keeper.ts", [
  [
    "an ended lease is kept",
    "R16",
    "if (state._tag === \"Ended\") { for (const { token } of lease.parts ?? [lease]) this.leases.delete(token) }",
    ""
  ],
  [
    "a change of the subscription during the request is forgotten",
    "R25",
    "else if (state.resubscribed) this.refreshNow(lease)",
    ""
  ],
  [
    "a grant that overtakes its answer is forgotten",
    "R30",
    "if (state._tag === \"Requested\") this.become(lease, { ...state, early: fence })",
    ""
  ],
  [
    "who is asked to let go loses it at once",
    "R17",
    "this.become(lease, { ...state, isAsked: true })",
    "this.lose(lease, \"Revoked\")"
  ],
  [
    "who is asked before it knows that it holds is not asked",
    "R30",
    "isAsked: fences.includes(lease.askedFor)",
    "isAsked: fences.length === 0"
  ],
  [
    "a multi-lock that is lost gives back one key",
    "R20",
    "this.options.leave(lease)\n    countLoss",
    "this.options.leave(lease.parts?.[0] ?? lease)\n    countLoss"
  ],
  [
    "a multi-lock is lost when all its keys are revoked",
    "R17",
    "state.fences.some((fence) => fence <= revokedUpTo)",
    "state.fences.every((fence) => fence <= revokedUpTo)"
  ],
  ["a stale grant is used", "R2", " || fence <= state.lastFence) return", ") return"],
  ["a waiter whose token is gone waits on", "R2", "else this.endWait(lease, answer)", "else this.look(lease)"],
  [
    "the answer to one waiter counts for all",
    "R4",
    "this.holdUntil(lease, state.usable, [fence])",
    "this.holdUntil(lease, [...this.leases.values()].map((one) => one.state._tag === \"Waiting\" ? one.state.usable : state.usable).sort((a, b) => b.at - a.at)[0]!, [fence])"
  ],
  [
    "a grant counts from its answer",
    "R5",
    "new Deadline().hear(sentAt, remainingMillis, ttlMillis)",
    "new Deadline().hear(this.now(), remainingMillis, ttlMillis)"
  ],
  [
    "a renewal counts from its answer",
    "R5",
    "state.deadline.hear(sentAt,",
    "state.deadline.hear(this.now(),"
  ],
  [
    "a heartbeat counts from its answer",
    "R5",
    "known.usable.hear(sentAt,",
    "known.usable.hear(this.now(),"
  ],
  ["a holder that the server does not know holds on", "R13", "this.lose(lease, \"Superseded\")", "this.look(lease)"],
  [
    "a holder believes an answer to what was asked before the grant",
    "R13",
    "} else if (sentAt > state.since) {",
    "} else if (sentAt > 0) {"
  ],
  [
    "a grant lasts a whole ttl",
    "R14",
    "this.holdUntil(lease, state.usable, [fence])",
    "this.holdUntil(lease, new Deadline().hear(this.now(), lease.terms.ttlMillis, lease.terms.ttlMillis), [fence])"
  ],
  [
    "a grant is used however little is left of it",
    "R14",
    "state.usable.at - this.now() >= enough",
    "enough > 0"
  ],
  [
    "nobody asks again after the subscriber was lost",
    "R25",
    "if (lease.state._tag === \"Waiting\") this.refreshNow(lease)\n        else if",
    "if"
  ],
  [
    "a revocation that overtakes its grant is forgotten",
    "R30",
    "lease.revokedUpTo = Math.max(lease.revokedUpTo, event.fence)",
    ""
  ],
  [
    "a revoked holder is not told",
    "R17",
    "state.fences.some((fence) => fence <= revokedUpTo)",
    "state.fences.some((fence) => fence < 0 * revokedUpTo)"
  ],
  [
    "the deadline is skipped",
    "S3",
    "this.lose(lease, lease.failure || lease.refreshing ? \"Unreachable\" : \"Expired\")",
    "this.become(lease, { ...state, deadline: new Deadline().hear(now, 1_000, 1_000) })"
  ],
  [
    "maxHold is ignored",
    "4.5",
    "this.lose(lease, \"MaxHold\")",
    "this.become(lease, { ...state, since: now })"
  ],
  [
    "a silent store is waited for without end",
    "L1",
    "giveUpAt: sentAt + Math.max(alive, this.options.commandTimeoutMillis)",
    "giveUpAt: sentAt + alive * 1e9"
  ],
  [
    "after one heartbeat there is no other",
    "4.5",
    "lease.refreshing = false\n    lease.failure =",
    "lease.failure ="
  ],
  [
    "a failed heartbeat is not repeated",
    "4.5",
    "if (answer._tag === \"Failed\") {",
    "if (answer._tag === \"Failed\") return\n    if (lease.failure) {"
  ],
  [
    "a loss is told before its leave is sent",
    "R16",
    "    this.options.leave(lease)\n    countLoss(reason)\n    this.tell(lease)",
    "    this.tell(lease)\n    this.options.leave(lease)\n    countLoss(reason)"
  ],
  [
    "a lost lease is not given back",
    "4.3",
    "    this.options.leave(lease)\n    countLoss(reason)",
    "    countLoss(reason)"
  ]
])

const engine = [
  ...inFile("src/internal/engine/heartbeat.ts", [
    [
      "the first answer of a batch is for all its keys",
      "4.8",
      "L.worst(lease, answer.slice(at, end))",
      "L.worst(lease, answer.slice(at, at + 1))"
    ],
    [
      "only what is less than a batch is refreshed",
      "4.5",
      "if (batches.length > 0) options.fork(refreshInTurn(keeper, batches))",
      ""
    ],
    ["what ends before its turn is refreshed", "R16", "due.filter(({ state }) => state._tag !== \"Ended\")", "due"]
  ]),
  ...inFile("src/internal/engine/prober.ts", [
    ["nobody checks that messages arrive", "4.11", "      this.probe()\n", ""],
    ["many short waits are never checked", "4.11", "this.at <= now && !this.spared", "this.at <= now"]
  ]),
  ...inFile("src/internal/engine/engine.ts", [
    ["a wait has no end", "L1", "startedAt + request.waitMillis", "startedAt + Infinity"],
    [
      "a retry keeps its token",
      "R11",
      "L.make(this.makeToken(), request.claims,",
      "L.make(((attempt as { token?: string }).token ??= this.makeToken()), request.claims,"
    ],
    [
      "an interrupted waiter is not given back",
      "R15",
      "this.keeper.drop(lease)\n    this.leaver.later(lease)",
      "this.keeper.drop(lease)"
    ],
    [
      "a leave is sent before its lease is dropped",
      "R16",
      "this.keeper.drop(lease)\n    this.leaver.later(lease)",
      "this.leaver.later(lease)\n    this.keeper.drop(lease)"
    ],
    [
      "a grant is not looked at again where it is handed over",
      "R23",
      "this.keeper.endIfDue(lease, this.keeper.now()) ? this.again(attempt) : Effect.succeed(lease)",
      "Effect.succeed(lease)"
    ],
    [
      "a wait bounds the first answer",
      "L1",
      "restore(this.ask(request, lease))",
      "restore(Effect.timeoutOrElse(this.ask(request, lease), { duration: request.waitMillis, orElse: () => Effect.fail(request.refuse([Errors.notAcquired(request.claims[0]?.key ?? \"\", \"Timeout\", this.since(startedAt))])) }))"
    ],
    ["check trusts the timer", "R23", "this.keeper.endIfDue(lease, now)\n      const { state }", "const { state }"],
    [
      "a release is not sent",
      "4.7",
      "return Effect.flatMap(this.leaver.now(lease), (known) => {",
      "return Effect.flatMap(Effect.succeed(true), (known) => {"
    ],
    [
      "a loss that only the leave finds is not told",
      "R45",
      "if (known || state._tag",
      "if (known || !known || state._tag"
    ],
    ["a late answer to a leave is a loss", "R45", " || this.keeper.now() >= state.deadline.at) return", ") return"],
    [
      "a late answer to a closed service is not given back",
      "R15",
      "if (lease.state._tag === \"Ended\") {\n      this.leaver.later(lease)",
      "if (lease.state._tag === \"Ended\") {"
    ]
  ]),
  ...inFile("src/internal/engine/deadline.ts", [
    ["clocks do not differ", "R5", "millis * 0.01 + 2", "millis * 0"],
    [
      "what remains is counted on, whatever was asked for",
      "R43",
      "localEnd(sentAt, Math.min(remainingMillis, askedMillis))",
      "localEnd(sentAt, remainingMillis)"
    ],
    [
      "a refresh comes after a third of what remains",
      "R43",
      "sentAt + Math.min(remainingMillis, askedMillis) / 3",
      "sentAt + remainingMillis / 3"
    ],
    ["less than was asked for is not believed", "R43", "return Math.min(this.asked, this.told)", "return this.asked"],
    ["an older answer is believed", "R43", "if (sentAt >= this.toldAt) {", "if (sentAt >= 0) {"],
    [
      "a late answer shortens the local deadline",
      "R6",
      "this.asked = Math.max(this.asked, localEnd(",
      "this.asked = Math.max(-Infinity, localEnd("
    ]
  ]),
  ...inFile("src/internal/engine/late.ts", [
    [
      "a ttl that is shorter than the round trip is tried for ever",
      "L1",
      "late !== undefined && now >= late.since + commandTimeoutMillis",
      "late !== undefined && now < late.since"
    ],
    ["each late answer is the first", "L1", "before?.since ?? now", "now"]
  ]),
  ...inFile("src/internal/engine/lease.ts", [
    [
      "nobody pokes when the holder's lease ends",
      "R10",
      ": now + answer.holder.endsMillis + 1 + answer.rank * Timing.pokeStaggerMillis",
      ": Infinity"
    ],
    [
      "a waiter that no message can reach asks no more often",
      "R7",
      "subscribed ? Infinity : now + Timing.unsubscribedHeartbeatMillis",
      "Infinity"
    ],
    [
      "a batch is as good as its first item",
      "4.8",
      "answers.some((answer, i) => isGone(state, answer, i)) ? gone :",
      "answers[0] ??"
    ],
    [
      "who was granted anew goes on as if nothing had been lost",
      "R13",
      "answer._tag === \"Gone\" || (answer._tag === \"Held\" && state._tag === \"Held\" && answer.fence !== state.fences[claim])",
      "answer._tag === \"Gone\""
    ],
    ["a multi-lock forgets a part", "R20", "    parts,\n    refreshAt", "    parts: parts.slice(1),\n    refreshAt"],
    [
      "a multi-lock lasts as long as the best of its parts",
      "R20",
      "deadline: Deadline.earliest(states.map((state) => state.deadline)),",
      "deadline: states.map((state) => state.deadline).sort((a, b) => b.at - a.at)[0]!,"
    ],
    ["a multi-lock is not renewed", "R20", "refreshAt: Math.min(...parts.map((part) => part.refreshAt)),", ""],
    [
      "a multi-lock forgets that a part is asked for",
      "R17",
      "isAsked: states.some((state) => state.isAsked)",
      "isAsked: states.length === 0"
    ],
    [
      "a held key that the server has in the queue counts as held",
      "R13",
      "    answers.find((answer) => answer._tag === \"Waiting\") ??\n",
      ""
    ],
    ["a waiter is alive for a whole ttl", "R14", "Math.min(ttlMillis, livenessMillisMax)", "ttlMillis"],
    ["renew: false renews", "4.5", "lease.refreshing || !lease.terms.renew ? Infinity", "lease.refreshing ? Infinity"]
  ]),
  ...inFile("src/internal/engine/leaver.ts", [
    [
      "a key that is to be kept is given back",
      "hold",
      "keepMillis > 0 ? items.map((item) => ({ ...item, keepMillis })) : items",
      "items"
    ],
    [
      "a key that is kept is not given back to who asked in that moment",
      "hold",
      "if (keepMillis > 0) keep(lease, now)",
      ""
    ],
    [
      "nobody looks when a key is kept no longer",
      "hold",
      "if (keepMillis > 0) settleAfter(lease.claims, keepMillis)",
      ""
    ]
  ]),
  ...inFile("src/internal/alarm.ts", [
    ["the wall clock judges", "R23", "Edition.monotonicMillis(clock)", "clock.currentTimeMillisUnsafe()"],
    ["the alarm cannot be set to ring earlier", "4.5", "if (at >= ringsAt) return", "if (ringsAt < Infinity) return"],
    [
      "an alarm rings inside the step that sets it",
      "4.5",
      "return Effect.andThen(Effect.yieldNow, ring)",
      "return ring"
    ],
    ["an alarm that is moved rings twice", "4.5", "if (sleeper !== undefined) Edition.interrupt(sleeper)", ""]
  ]),
  ...inFile("src/internal/lock.ts", [
    ["a guarded effect is not interrupted", "4.4", "() => Edition.interrupt(fiber)", "() => {}"],
    [
      "the failure of an effect vanishes behind the loss of its lock",
      "4.4",
      "Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)",
      "Exit.isSuccess(exit) || exit !== undefined"
    ],
    ["a release leaves its finalizer in the scope", "4.7", "      this.#forget?.()\n", ""],
    [
      "a body is not inside its hold",
      "R20",
      "Reentrancy.forkInside(Edition.forkGrafted(restore(effect)), realm, lease)",
      "Edition.forkGrafted(restore(effect))"
    ]
  ]),
  ...inFile("src/internal/callSite.ts", [
    ["every call looks at the stack, however busy the program is", "B3", "  left--\n", ""],
    ["no call looks at the stack", "B3", "left === 0 ||", "left >= 0 ||"],
    ["the call site of a call inside is replaced", "B3", "Reflect.get(error, final) === true", "false"]
  ]),
  ...inFile("src/internal/operation.ts", [
    ["an error shows the frames of this library", "B3", "    CallSite.show(told, \"\")\n", ""]
  ]),
  ...inFile("src/internal/edition.ts", [
    ["what a body forks ends with it", "4.4", "    adopted.add(one)\n", ""],
    ["what is taken out of a scope is released with it", "4.7", "void Scope.closeUnsafe(own, Exit.void)", "{}"]
  ]),
  ...inFile("src/internal/fanout.ts", [
    ["a job begins when it is made", "R31", "Effect.andThen(begins, job)", "job"],
    ["what was completed before serves who came after", "R32", "{ ...what, completedAt }", "what"]
  ]),
  ...inFile("src/internal/reentrancy.ts", [
    [
      "a fiber does not go on inside what it has taken",
      "R20",
      "Edition.goOnWith(fiber, Context.add(context, Around, Holds.push(around(context), lease, realm)))",
      "Effect.void"
    ],
    [
      "what another fiber took for the scope does not count",
      "R20",
      "(by) => by === fiber || by === undefined || Edition.hasEnded(by)",
      "(by) => by === fiber"
    ],
    [
      "what a fiber beside this one took counts",
      "R20",
      "(by) => by === fiber || by === undefined || Edition.hasEnded(by)",
      "() => true"
    ],
    ["a lock elsewhere counts", "R20", "at.#realm !== realm || ", ""],
    [
      "a shared job is inside what its first caller holds",
      "R20",
      "Effect.provideService(effect, Around, undefined)",
      "effect"
    ]
  ]),
  ...inFile("src/internal/singleton.ts", [
    [
      "a singleton ends when Redis refuses for now",
      "singleton",
      "error.reason !== \"Refused\"",
      "error.reason !== \"Refused\" && error.reason !== \"RefusedForNow\""
    ],
    ["a key is kept for no longer than a lease", "hold", "    hold === 0\n", "    hold >= 0\n"],
    [
      "a job starts before its key is kept for hold",
      "hold",
      "engine.keepFor(lease, hold)",
      "Effect.forkChild(Effect.ignore(engine.keepFor(lease, hold)))"
    ],
    [
      "a standby that has gone knows who leads",
      "singleton",
      "Effect.onError(take(engine, request, restore, hold), () => leader.onNobody)",
      "take(engine, request, restore, hold)"
    ]
  ]),
  ...inFile("src/internal/dlock.ts", [])
]

const model = [
  ...inFile("src/internal/fanout.ts", [
    [
      "outcomes go sooner than those who missed them ask",
      "R39",
      "Math.max(retentionMillis, terms.ttlMillis + commandTimeoutMillis)",
      "Math.max(retentionMillis, 1)"
    ]
  ]),
  ...inFile("src/internal/memory/flightModel.ts", [
    [
      "a copy of a finish finds nothing",
      "R33",
      "if (flight.done.has(token)) return true",
      "if (flight.done.size < 0) return true"
    ],
    [
      "a copy of a join brings an ended flight back",
      "R36",
      "![flight.followers, flight.served, flight.buried, flight.done].some",
      "![flight.followers, flight.served].some"
    ],
    [
      "who follows is forgotten when another leads",
      "R34",
      "  flight.followers.delete(token)\n  flight.leader = {",
      "  flight.followers.clear()\n  flight.leader = {"
    ],
    [
      "a part that was given up is followed",
      "R37",
      "if (flight.leader?.token === gaveUp) flight.leader = undefined",
      ""
    ],
    [
      "nobody is told that the leader left",
      "R34",
      "call.messages.push({ what: \"moved\", inbox, token: follower, outcome: undefined })",
      ""
    ]
  ]),
  ...inFile("src/internal/engine/callers.ts", [
    [
      "who came too late gets the outcome of before",
      "R32",
      "mayHave(flights, caller, landing) ? ",
      "(mayHave(flights, caller, landing) || true) ? "
    ]
  ]),
  ...inFile("src/internal/engine/flightNews.ts", [
    [
      "a flight that fetches follows again beside the open one",
      "R31",
      "return sentAt > state.since ? abandon(flights, flight, state) : flights.keeper.look(flight)",
      "return flights.keeper.look(flight)"
    ],
    [
      "a flight that fetches leads again beside the open one",
      "R31",
      "return state._tag === \"Following\"\n        ? flights.lead(flight, state.token, sentAt, answer.remainingMillis)\n        : abandon(flights, flight, state)",
      "return flights.lead(flight, state.token, sentAt, answer.remainingMillis)"
    ],
    [
      "a subscription that changed while it joined is forgotten",
      "R25",
      "for (const flight of flights.live) isDoubtful(flights, flight)",
      "for (const flight of flights.live) if (flight.state._tag === \"Following\") flights.keeper.refreshNow(flight)"
    ],
    [
      "a flight whose outcome is gone joins again beside the open one",
      "R31",
      "flights.land(flight, answer._tag === \"Gone\" ? F.nobodys : { ...answer, provenAt, keptFor: undefined })",
      "if (answer._tag === \"Gone\") flights.begin(flight)\n        else flights.land(flight, { ...answer, provenAt, keptFor: undefined })"
    ],
    [
      "a message that overtakes the join's answer is dropped",
      "R30",
      "state?._tag !== \"Joining\" && state?._tag",
      "state?._tag"
    ],
    [
      "a leader without callers stops though others follow",
      "R35",
      " || answer.followers > 0",
      ""
    ],
    [
      "a leader that the server does not know leads on",
      "R13",
      "else if (lease !== undefined && sentAt > lease.since) flights.lose(flight)",
      "else if (lease !== undefined && sentAt > lease.since) flights.keeper.look(flight)"
    ]
  ]),
  ...inFile("src/internal/redis/flightStore.ts", [
    ["a late join is sent again after its leave", "R15", "this.joining.has(request.token) ?", "true ?"]
  ]),
  ...inFile("src/internal/engine/flights.ts", [
    [
      "a job begins before its flight leads",
      "R31",
      "leader.prepare()\n",
      "leader.prepare()\n    go()\n"
    ],
    [
      "who is told of a failed flight asks before it has left",
      "R31",
      "          this.leave(flight, token, flight.gaveUp)\n",
      ""
    ],
    [
      "an outcome from the server's future is judged by its time",
      "R32",
      "landing.finishedAt > this.store.serverMillisAtMost(this.keeper.now())",
      "landing.finishedAt === Infinity"
    ],
    [
      "who comes after the end is in the flight",
      "R32",
      "if (state._tag === \"Finishing\" || state._tag === \"Fetching\" || state._tag === \"Ended\") {",
      "if (state._tag === \"Ended\") {"
    ],
    [
      "what the store says decides over a job that ended in time",
      "R33",
      "const landing = now < deadline.at ? F.own(produced) : undefined",
      "const landing = now < 0 ? F.own(produced) : undefined"
    ],
    [
      "callers have the outcome before the store is told",
      "R32",
      "this.become(flight, { _tag: \"Finishing\", token, landing })",
      "this.become(flight, { _tag: \"Finishing\", token, landing })\n    if (landing) this.land(flight, landing)"
    ],
    [
      "callers wait for a store that cannot be told",
      "R33",
      "if (landing !== undefined && flight.state._tag === \"Finishing\") this.land(flight, landing)",
      ""
    ],
    [
      "a flight that takes no callers joins again beside the open one",
      "R31",
      "settle(() => this.land(flight, accepted ? F.own(produced) : F.nobodys))",
      "settle(() => accepted ? this.land(flight, F.own(produced)) : this.begin(flight))"
    ],
    [
      "a job that is stopped is not renewed",
      "R31",
      "this.become(flight, { _tag: \"Stopping\", job, held })",
      "this.become(flight, { _tag: \"Stopping\", job, held: undefined })"
    ],
    [
      "a process follows itself",
      "R37",
      "const gaveUp = flight.gaveUp ?? finishing.get(id)",
      "const gaveUp = undefined"
    ],
    ["a refused finish is left at that", "R38", "Effect.map(store.refuse({ id, token }),", "Effect.map(Effect.void,"],
    [
      "a leader that left while it joined is forgotten",
      "R34",
      "if (flight.overtaken) this.keeper.refreshNow(flight)",
      ""
    ]
  ]),
  ...inFile("src/internal/redis/acquire.ts", [
    ["notAfter is not looked at", "R3", "if now >= notAfter then return", "if false then return"],
    ["the first acquire sets the limit for ever", "R12", "lock.limit, lock.dirty = lock.wanted,", "lock.dirty ="],
    [
      "a free lock that others wait for is taken",
      "4.4",
      "call(\"EXISTS\", lock.state, lock.held, lock.queue, lock.alive) == 0 and",
      "call(\"EXISTS\", lock.held) == 0 and"
    ],
    [
      "who joins the queue of a lock that is over waits for its heartbeat",
      "R9",
      "or not ends or ends <= now or dead > 0",
      "or not ends or dead > 0"
    ],
    [
      "who fits overtakes those who wait",
      "4.4",
      "used + permits <= limit and rank == 0 and call(\"EXISTS\", lock.alive) == 0",
      "used + permits <= limit"
    ],
    [
      "who wants another limit takes a permit by the old one",
      "R12",
      "if not used or not limit or meta[3] ~= wanted then",
      "if not used or not limit then"
    ],
    [
      "a copy of an acquire joins the queue again",
      "4.2",
      "if meta[1] or not last or not ends",
      "if not last or not ends"
    ]
  ]),
  ...inFile("src/internal/locks.ts", [
    [
      "the finalizer is forgotten",
      "4.3",
      "Edition.addFinalizer(scope, () => releaseQuietly(env.engine, lease))",
      "Effect.succeed(() => {})"
    ],
    ["several keys are waited for as they were given", "R20", "claims: Key.inOrder(keys)", "claims: keys"],
    [
      "a fiber may wait for itself",
      "R20",
      "claim === undefined\n        ? waiting",
      "claim !== null\n        ? waiting"
    ],
    [
      "what tries again by a schedule may wait for itself",
      "R20",
      "schedule === undefined ? acquire : unlessReentrant(\n    env,\n    asked,",
      "schedule === undefined ? acquire : unlessReentrant(\n    env,\n    { ...asked, failsReentrant: false },"
    ]
  ]),
  ...inFile("src/internal/engine/repeater.ts", [
    ["what failed is not repeated", "R15", "Effect.sync(() => again(sending, cause, pauseMillis))", "Effect.void"]
  ]),
  ...inFile("src/internal/engine/multi.ts", [
    [
      "a key that was lost on the way counts",
      "R20",
      "if (parts.some((part) => keeper.endIfDue(part, now))) return undefined",
      ""
    ],
    [
      "who starts again keeps what it had",
      "R20",
      "for (const part of parts) engine.giveBack(part)\n  const next",
      "const next"
    ],
    [
      "a wait that was over before a refusal goes on",
      "L1",
      "failed[0].reason === \"Timeout\" ?",
      "failed.length === 0 ?"
    ],
    [
      "a wait for several has a limit of time for each",
      "4.8",
      "restore, startedAt), (part) => parts.push(part))",
      "restore), (part) => parts.push(part))"
    ],
    [
      "a multi-lock has one token",
      "R20",
      "keeper.leases.set(part.token, lease)",
      "keeper.leases.set(lease.token, lease)"
    ],
    [
      "what was had before the wait failed is kept",
      "4.8",
      "for (const part of parts) engine.giveBack(part)\n      return Effect.failCause(cause)",
      "return Effect.failCause(cause)"
    ],
    [
      "what is not renewed lasts as long as its oldest part",
      "4.8",
      "if (request.terms.renew) return Effect.succeed(lease)",
      "if (request !== undefined) return Effect.succeed(lease)"
    ]
  ]),
  ...inFile("src/internal/engine/make.ts", [
    ["what is unsettled stays so", "R22", "if (targets.length > 0) fork(settleAll(store, targets))", ""]
  ]),
  ...inFile("src/internal/memory/model.ts", [
    ["a copy of an acquire acquires again", "4.2", "if (known) return { accepted: true, unsettled, formerLimits }", ""],
    [
      "the first acquire sets the limit for ever",
      "R12",
      "      lock.limit = claim.limit",
      "      if (lock.limit === 1) lock.limit = claim.limit"
    ],
    ["a downgrade keeps what it has", "4.10", "  holder.permits = permits", ""],
    ["a downgrade frees nothing", "4.10", "  lock.used -= holder.permits - permits\n", ""],
    [
      "a downgrade may go up",
      "R20",
      "holder === undefined || holder.permits <= permits) return",
      "holder === undefined) return"
    ],
    ["to ask is to take", "R17", "if (!asks || holder.isKept) dropHolder", "if (holder) dropHolder"],
    ["what is kept is renewed", "hold", "if (holder && !holder.isKept && holder.until", "if (holder && holder.until"],
    [
      "only one of several holders is told",
      "R17",
      "for (const [token, holder] of revoked) {",
      "for (const [token, holder] of revoked.slice(0, 1)) {"
    ],
    [
      "one key of several is enough",
      "4.8",
      "locks.every(([lock, claim]) => fits(lock, claim))",
      "locks.some(([lock, claim]) => fits(lock, claim))"
    ],
    [
      "a renewal shortens",
      "R6",
      "holder.until = Math.max(holder.until, call.nowMillis + Math.ceil(times.ttlMillis))",
      "holder.until = call.nowMillis + Math.ceil(times.ttlMillis)"
    ],
    [
      "a renewal revives a holder",
      "R2",
      "if (holder && !holder.isKept && holder.until > call.nowMillis) {",
      "if (holder && !holder.isKept) {"
    ],
    ["a heartbeat revives a waiter", "R2", "if (waiter && waiter.until > call.nowMillis) {", "if (waiter) {"],
    [
      "waiting is answered without the last fence",
      "R2",
      "lastFence: lock.lastFence,\n    rank,",
      "lastFence: 0,\n    rank,"
    ],
    ["expired holders stay", "R9", "if (holder.until > call.nowMillis) continue", "if (holder.until > 0) continue"],
    [
      "leave frees whoever holds",
      "S5",
      "if (holder) dropHolder(lock, token, holder)",
      "for (const [other, one] of lock.holders) if (holder ?? one) dropHolder(lock, other, one)"
    ],
    ["fences only count", "4.6", "lock.lastFence + 1, call.forgottenFence + 1, call.nowMicros", "lock.lastFence + 1"],
    [
      "fences only tell the time",
      "4.6",
      "lock.lastFence + 1, call.forgottenFence + 1, call.nowMicros",
      "call.nowMicros"
    ],
    ["who cannot be reached is removed", "R7", "waiter.queued = false", "lock.waiters.delete(token)"],
    [
      "who is not subscribed is passed over",
      "R7",
      "waiter.subscribed && !told && !call.reachable(waiter.inbox)",
      "!told && !call.reachable(waiter.inbox)"
    ],
    ["who was passed over does not come back", "R7", "waiter.queued = true", ""],
    [
      "a waiter above the limit blocks",
      "R12",
      "} else if (waiter.permits > lock.limit) {",
      "} else if (waiter.permits > 1e9) {"
    ],
    [
      "a grant out of the queue lasts longer than the waiter lives",
      "R14",
      "= hold(lock, call, token, waiter)",
      "= hold(lock, call, token, { ...waiter, until: waiter.until + 5000 })"
    ],
    ["a tombstone is not seen", "R15", " || lock.tombstones.has(token)", ""],
    ["a forced release takes later grants as well", "R17", " && holder.fence <= fence", ""],
    ["a newcomer overtakes the queue", "4.4", "firstQueued(lock) === undefined && lock.used", "lock.used"],
    [
      "a large request is overtaken by small ones",
      "4.10",
      "lock.used + waiter.permits > lock.limit) {\n      break",
      "lock.used + waiter.permits > lock.limit) {\n      waiter.queued = false"
    ],
    ["any free permit is enough", "4.10", "lock.used + claim.permits <= lock.limit", "lock.used < lock.limit"],
    ["one call settles all there is", "R22", "const stepsMax = 64", "const stepsMax = 1e9"],
    ["nothing is remembered of fences", "R21", "entry.until + call.rememberMillis", "0"],
    ["what is forgotten starts its fences anew", "4.6", "call.forgottenFence + 1, ", ""]
  ]),
  ...inFile("src/internal/memory/store.ts", [
    [
      "leave does not settle",
      "R9",
      "return { answer, unsettled: server.settleAll(targets, call) }\n    })\n  },\n  lower",
      "return { answer, unsettled: [] }\n    })\n  },\n  lower"
    ],
    [
      "a downgrade wakes nobody",
      "R9",
      "const unsettled = server.settleAll([target], call)\n      return { answer: Model.statusOf",
      "const unsettled: Array<Target> = []\n      return { answer: Model.statusOf"
    ],
    [
      "a forced release wakes nobody",
      "R9",
      "return { answer, unsettled: server.settleAll([target], call) }",
      "return { answer, unsettled: [] }"
    ],
    ["a heartbeat does not settle", "R9", "server.settleAll(targets, call, answered)", "([] as Array<Target>)"]
  ])
]

const client = [
  ...inFile("src/internal/redis/unanswered.ts", [
    [
      "no tombstone is asked for",
      "R15",
      "acquire === undefined || acquire.epoch === epoch() ? 0 : acquire.notAfter",
      "acquire === undefined ? 0 : 0"
    ],
    [
      "an answer counts on any connection",
      "R15",
      "if (acquires.get(token)?.epoch === epoch()) acquires.delete(token)",
      "acquires.delete(token)"
    ]
  ]),
  ...inFile("src/internal/serverClock.ts", [
    ["notAfter lies in the past", "R3", "Math.ceil(at + offsetAt(at)) + 1", "Math.ceil(offset ?? 0)"],
    ["clocks do not drift before the last reply", "R32", "Math.abs(at - learnedAt)", "Math.max(0, at - learnedAt)"]
  ]),
  ...inFile("src/internal/redis/link.ts", [
    [
      "each command of fibers that go on by themselves is a write",
      "cost",
      "setImmediate(() => {",
      "queueMicrotask(() => {"
    ],
    [
      "what the server did not know the script of is sent again when it was given up",
      "R47",
      "this.calls.has(call) && isWanted() ?",
      "this.calls.has(call) ?"
    ],
    [
      "what was given up is sent once there is a connection",
      "R47",
      "if (call.isWanted()) call.send(now)",
      "call.send(now)"
    ],
    [
      "what waits for a connection may have been applied",
      "4.11",
      "call.isSent ? { ...failure, outcome: \"Unknown\" } : failure",
      "{ ...failure, outcome: \"Unknown\" }"
    ]
  ]),
  ...inFile("src/internal/redis/gate.ts", [
    [
      "a connection is used without its database",
      "4.11",
      "if (database === undefined || database === 0 || this.isElsewhere()) this.arrive()",
      "if (database !== -1) this.arrive()"
    ],
    [
      "the database of another is taken",
      "4.11",
      "if (!this.isUp || this.held !== undefined || this.state._tag === \"Open\" && !this.isElsewhere()) return",
      "if (!this.isUp || this.held !== undefined || this.state._tag === \"Open\") return"
    ],
    [
      "a connection that was destroyed is used",
      "4.11",
      "    this.isUp = false\n",
      ""
    ]
  ]),
  ...inFile("src/internal/redis/store.ts", [
    ["an acquire is sent after its leave", "R15", "for (const { token } of items) this.asking.delete(token)", ""],
    [
      "a leave that was sent again needs no tombstone",
      "R15",
      "if (items.some(({ token }, i) => this.unanswered.buriedUntil(token) !== buriedUntil[i])) {",
      "if (items.length === 0) {"
    ]
  ]),
  ...inFile("src/internal/redis/subscriber.ts", [
    [
      "a long round trip counts as silence",
      "4.11",
      "Math.max(suspectAfterMillis, suspectAfterRoundTrips * this.roundTripMillis)",
      "suspectAfterMillis"
    ],
    [
      "subscribed is said before it is acknowledged",
      "R25",
      "= Effect.suspend(() => this.subscribe).pipe(\n    Effect.tapError",
      "= Effect.suspend(() => {\n    this.become(\"Subscribed\")\n    return this.subscribe\n  }).pipe(\n    Effect.tapError"
    ]
  ])
]

const lua = [
  ...inFile("src/internal/redis/lua.ts", [
    ["fences lose digits", "R1", "return string.format(\"%.0f\", number)", "return tostring(number)"],
    ["fences only count", "4.6", "math.max(last + 1, nowMicros)", "last + 1"],
    ["a foreign key is found half-way", "R8", "if not lock.last then\n", "if false then\n"],
    [
      "a deadline that lies beyond #until is not seen",
      "R44",
      "if (lock.firstEnds or 0) > lock.till or (lock.dies or 0) > lock.till then",
      "if false then"
    ],
    [
      "#until is raised before the expiries",
      "R44",
      "  local isThere =",
      "  call(\"HSET\", lock.state, \"#until\", digits)\n  local isThere ="
    ],
    ["the state has no expiry", "R21", "  if not isThere then call(\"PEXPIREAT\", lock.state, digits) end\nend", "end"],
    ["the expiry of who waits is not raised", "R44", "  call(\"PEXPIREAT\", lock.alive, till)\n", ""],
    [
      "what is held anew has no expiry",
      "R21",
      "if lock.stale or not lock.first then call(\"PEXPIREAT\", lock.held, text(lock.till)) end",
      ""
    ],
    [
      "a grant is written before what bears it",
      "R44",
      "local function hold(lock, token, entry, deadline)\n  reach(lock, deadline)",
      "local function hold(lock, token, entry, deadline)"
    ],
    [
      "#used outlives the entry that it counts",
      "R46",
      "call(\"HDEL\", lock.state, token, \"#used\")",
      "call(\"HDEL\", lock.state, token)"
    ],
    ["a holder without an entry counts for none", "R46", "used = math.huge", "used = used"],
    [
      "a limit that was not read is written",
      "R46",
      "lock.limit, lock.used = tonumber(meta[2]), tonumber(meta[1])",
      "lock.limit, lock.used = tonumber(meta[2] or \"1\"), tonumber(meta[1])"
    ],
    [
      "what waits is not taken out of what is held",
      "R46",
      "if call(\"ZREM\", lock.held, token) == 1 then",
      "if false then"
    ],
    ["fences are remembered no longer than the lease", "R21", "text(lock.till - now + DAY)", "text(lock.till - now)"],
    [
      "time is read again",
      "R23",
      "    lock.ends[token] = tonumber(ends or \"0\")",
      "    local again = call(\"TIME\")\n    now = again[1] * 1000 + math.floor(again[2] / 1000)\n    lock.ends[token] = tonumber(ends or \"0\")"
    ],
    [
      "the first end is not read again when it has changed",
      "R10",
      "lock.stale = lock.stale or lock.first == token",
      ""
    ],
    [
      "who stands first is not read again when it has gone",
      "R9",
      "lock.moved = lock.moved or lock.head == token",
      ""
    ]
  ]),
  ...inFile("src/internal/redis/settleLua.ts", [
    ["what a step did not finish is told", "R44", "for i = #outbox, told + 1, -1 do outbox[i] = nil end", ""],
    ["a renewal is written before what bears it", "R44", "      reach(lock, now + ttl)\n", ""],
    ["a refused PUBLISH undoes the answer", "R8", "redis.pcall(\"PUBLISH\", inbox", "redis.call(\"PUBLISH\", inbox"],
    ["a renewal shortens", "R6", "if ends > now and now + ttl > ends then", "if ends > now then"],
    ["a renewal revives a holder", "R2", "if ends > now and now + ttl > ends then", "if now + ttl > ends then"],
    [
      "a heartbeat revives a waiter",
      "R2",
      "if ends <= now then return end\n    if now + liveness",
      "if now + liveness"
    ],
    [
      "waiting is answered without the last fence",
      "R2",
      "return { \"waiting\", remaining, text(lock.last),",
      "return { \"waiting\", remaining, \"0\","
    ],
    [
      "who cannot be reached is removed",
      "R7",
      "dequeue(lock, token)\n      lock.dirty = true",
      "forget(lock, token, entry)"
    ],
    [
      "who is not subscribed is passed over",
      "R7",
      "elseif entry.subscribed == \"1\" and not answered",
      "elseif not answered"
    ],
    ["one bad key spoils the batch", "R8", "local ok, result = pcall(step, ...)", "local ok, result = true, step(...)"],
    ["a waiter above the limit blocks", "R12", "elseif entry.permits > lock.limit then", "elseif false then"],
    [
      "a grant out of the queue lasts longer than the waiter lives",
      "R14",
      "hold(lock, token, entry, deadline)\n      if entry",
      "hold(lock, token, entry, deadline + 5000)\n      if entry"
    ],
    ["one call settles all there is", "R22", "local MAX_STEPS = 64", "local MAX_STEPS = 7000"]
  ]),
  ...inFile("src/internal/redis/scripts.ts", [
    [
      "a renewal that fails half-way fails its batch",
      "R8",
      "attempt(renewAlone, keysOf(index), mine[1])",
      "renewAlone(keysOf(index), mine[1])"
    ],
    [
      "a full Redis refuses a renewal",
      "R8",
      "full Redis (R8).\n      call(\"HDEL\", lock.state, \"#\")",
      "full Redis (R8)."
    ],
    [
      "a full Redis refuses the renewal of a lock that nobody waits for",
      "R8",
      "if not isOpen then call(\"HDEL\", lock.state, \"#\") end",
      ""
    ],
    ["a holder that is over is renewed", "R2", "if ends <= now or type(last) ~=", "if type(last) ~="],
    [
      "a renewal does not see who waits",
      "R9",
      "ends > till or call(\"EXISTS\", lock.queue, lock.alive) > 0 then return nil end\n  local later",
      "ends > till then return nil end\n  local later"
    ],
    [
      "a renewal takes the end of another holder",
      "R2",
      "first[1] == item.token and tonumber(first[2]) or 0",
      "tonumber(first[2]) or 0"
    ],
    ["a renewed lock expires as before", "R44", "if later > till then raise(lock, later, true) end", ""],
    [
      "leave does not settle",
      "R9",
      "expire(lock)\n    grant(lock, {})\n    close(lock)",
      "expire(lock)\n    close(lock)"
    ],
    ["a heartbeat does not settle", "R9", "    grant(lock, answered)\n", ""],
    ["no tombstone is written", "R15", "if item.time > now then", "if false then"],
    [
      "every token that is left was held",
      "R45",
      "replies[item.at] = kind == \"h\" and \"holder\" or",
      "replies[item.at] = \"holder\" or"
    ],
    [
      "leave frees whoever holds",
      "S5",
      "isFree = #holders == 2 and holders[1] == token and",
      "isFree = #holders == 2 and"
    ],
    [
      "leave frees what others wait for, and grants it to nobody",
      "R9",
      "isFree = ARGV[at + 2] == \"0\" and call(\"EXISTS\", lock.queue, lock.alive) == 0",
      "isFree = ARGV[at + 2] == \"0\""
    ],
    [
      "a lock is handed over to who cannot be reached",
      "R7",
      "if heard.err or heard[2] == 0 then return false end",
      ""
    ],
    [
      "a permit is handed over to who wants more",
      "S4",
      "if tonumber(permits) ~= had or used ~=",
      "if not permits or used ~="
    ],
    [
      "a permit is handed over past a limit that was lowered",
      "R12",
      "~= had or used ~= tonumber(meta[3]) or not first",
      "~= had or not first"
    ],
    [
      "who is over keeps its permit when another leaves",
      "R9",
      "dead ~= 0 or not ends or ends <= now then return false end",
      "dead ~= 0 or not ends then return false end"
    ],
    [
      "a lock is handed over to the dead",
      "R9",
      "if queue.err or dead ~= 0 or",
      "if queue.err or"
    ],
    [
      "a handover goes on where the queue's liveness was evicted",
      "R8",
      " or not lives or tonumber(lives) > till then",
      " then"
    ],
    [
      "what was counted for who was evicted is handed on and on",
      "S4",
      " or not first[3] and used ~= had or",
      " or"
    ],
    [
      "who was evicted frees a permit of others",
      "S4",
      " or first[1] ~= token and not call(\"ZSCORE\", lock.held, token)",
      ""
    ],
    [
      "a full Redis refuses to hand over",
      "R8",
      "  call(\"HDEL\", lock.state, token, \"#used\")\n  -- R14",
      "  call(\"ZADD\", lock.held, lives, next)\n  call(\"HDEL\", lock.state, token, \"#used\")\n  -- R14"
    ],
    [
      "a lock is handed over for a whole ttl",
      "R14",
      "call(\"ZADD\", lock.held, lives, next)",
      "call(\"ZADD\", lock.held, text(till), next)"
    ],
    [
      "a heartbeat does not say who learns by its answer",
      "R22",
      "tokens[i], answered[item.token] = item.token, true",
      "tokens[i] = item.token"
    ]
  ]),
  ...inFile("src/internal/redis/operations.ts", [
    ["a forced release takes later grants as well", "R17", " and entry.number <= tonumber(ARGV[1])", ""],
    ["a holder that was evicted makes room by wanting less", "S4", " and endOf(lock, token, entry) > now then", " then"]
  ]),
  ...inFile("src/internal/redis/wire.ts", [
    ["a message of another version is believed", "R19", "v: Schema.Literal(1)", "v: Schema.Number"],
    ["a message may be of any size", "R19", "if (payload.length > maxLength) return Option.none()", ""]
  ])
]

/** What is shared, and with whom. */
const sharing = [
  ...inFile("src/internal/fanout.ts", [
    ["a job is in the scope of its caller", "R31", "Effect.exit(Effect.scoped(job))", "Effect.exit(job)"],
    [
      "a job holds what its caller holds",
      "R31",
      "Reentrancy.holdingNothing(Effect.interruptible(job))",
      "Effect.interruptible(job)"
    ],
    ["what cannot be shared is kept", "R36", "Outcome.isSuccess(payload) ?", "Exit.isSuccess(exit) ?"]
  ]),
  ...inFile("src/internal/json.ts", [
    ["a class with getters is JSON", "S7", "name === \"constructor\"", "name !== \"toJSON\""],
    ["what is not enumerable is JSON", "S7", "if (Reflect.ownKeys(fields).length !== keys.length) {", "if (false) {"],
    ["a hole in an array is JSON", "S7", "values[i] === undefined", "false"]
  ]),
  ...inFile("src/internal/engine/flights.ts", [
    [
      "callers wait until a store that is away can be told of the end",
      "R33",
      "const patient = landing === undefined || flight.state._tag !== \"Finishing\"",
      "const patient = true"
    ],
    [
      "who comes while a job that ran alone is being stopped does not ask whether the store is back",
      "R31",
      "if (flight.alone) return this.land(flight, F.nobodys)\n",
      ""
    ]
  ]),
  ...inFile("src/internal/engine/callers.ts", [
    [
      "a job runs alone beside a flight of all processes",
      "R31",
      "const found = flights.open.get(id)",
      "const found = [flights.open.get(id)].find((one) => one?.alone === alone)"
    ]
  ]),
  ...inFile("src/internal/tokens.ts", [
    ["a late message is malformed", "R19", "token.startsWith(mark)", "token === mark"],
    ["a forged message is late", "R19", "token.startsWith(mark)", "token.length >= mark.length"]
  ]),
  ...inFile("src/internal/http/request.ts", [
    [
      "headers do not tell requests apart",
      "S7",
      "JSON.stringify([told, beside, words])",
      "JSON.stringify([beside, words])"
    ],
    ["a url may say that it has headers", "S7", " || /\\s/.test(url)", ""],
    [
      "what a response depends on and its id does not tell is written as it is",
      "R19",
      "value === undefined || isHarmless(name)",
      "value === undefined || isHarmless(name) || true"
    ]
  ])
]

export const mutations: ReadonlyArray<Mutation> = [...keeper, ...engine, ...model, ...client, ...lua, ...sharing]
