// Kubernetes objects: JSON tree, schema, built-in kinds, patches, selectors, tables. Pure.
