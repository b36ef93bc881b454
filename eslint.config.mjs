import effect from "@effect/eslint-plugin"
import { defineConfig } from "eslint/config"
import tseslint from "typescript-eslint"

export default defineConfig(
  { ignores: ["dist", "bench/.build", "test/faults/.build"] },
  tseslint.configs.recommended,
  {
    plugins: { "@effect": effect },
    rules: {
      // The formatter: `npm run format` applies it.
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }],
      "@typescript-eslint/array-type": ["error", { default: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // `{}` is a variant without fields in a `Data.TaggedEnum`.
      "@typescript-eslint/no-empty-object-type": "off",
      // A public module may keep the types of its options in a namespace.
      "@typescript-eslint/no-namespace": "off"
    }
  },
  {
    // Messages between processes and faked replies have no type worth writing down.
    files: ["test/**", "bench/**"],
    rules: { "@typescript-eslint/no-explicit-any": "off" }
  },
  {
    files: ["src/**"],
    rules: {
      "no-console": "error",
      // The barrel would load all of Effect where nothing shakes the tree.
      "no-restricted-imports": ["error", {
        paths: ["effect", "@effect/platform"].map((name) => ({
          name,
          message: "Import the module itself: import * as Effect from \"effect/Effect\""
        }))
      }]
    }
  }
)
