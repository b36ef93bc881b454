// Imports from here, so that what lives in this folder's node_modules is found, as an ES module where there is one.
export const load = (name) => import(name)
