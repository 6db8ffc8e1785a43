// Whoever tests stores has the long form's switches with them.

@_exported import SoakLab
