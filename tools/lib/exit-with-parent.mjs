// Preloaded into a child process: the child ends when its parent is gone,
// whichever way the parent ended.
process.on('disconnect', () => process.exit(0));
process.channel?.unref();
