import type { Plugin as EsbuildPlugin } from "esbuild"

export declare const resolve: (specifier: string) => string | undefined

export declare const plugin: {
  readonly name: string
  readonly enforce: "pre"
  readonly resolveId: (specifier: string) => string | undefined
}

export declare const esbuildPlugin: EsbuildPlugin
