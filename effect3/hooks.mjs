import { resolve as resolved } from "./resolve.mjs"

/** Packages find what they import themselves. */
const isPackage = (url) => url?.includes("/node_modules/") ?? false

export const resolve = (specifier, context, next) =>
  next((isPackage(context.parentURL) ? undefined : resolved(specifier)) ?? specifier, context)
