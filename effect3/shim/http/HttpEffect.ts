/** Only tests need it. */
export * from "@effect/platform/HttpApp"
