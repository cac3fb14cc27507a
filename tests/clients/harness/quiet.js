// Keeps the library's own loggers off the terminal, from before it makes them: each client has a
// logger of its own, which is listened to.

import { logger } from "matrix-js-sdk/lib/logger.js";

logger.methodFactory = () => () => {};
logger.rebuild();
