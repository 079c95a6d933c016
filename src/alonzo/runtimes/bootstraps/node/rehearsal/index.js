'use strict';
// What the runtime's client rehearses with, as a script and as a module: see 7_rehearsal.cjs.
exports.handler = async (event, context) => ({ event, left: context.getRemainingTimeInMillis() });
