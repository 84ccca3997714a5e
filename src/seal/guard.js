function (newDoc, oldDoc, userCtx, secObj) {
  // A net against accidents in a sealed channel: nothing but sealed documents and log entries gets in.
  var no = function (why) { throw({ forbidden: 'This channel is sealed: ' + why }); };
  var only = function (object, names) {
    for (var name in object) {
      if (names.indexOf(name) === -1) { no('the member ' + name + ' does not belong here.'); }
    }
  };
  var is = function (value, pattern) { return typeof value === 'string' && pattern.test(value); };
  var id = newDoc._id;
  var x = newDoc.x;
  if (id === '_design/guard') {
    if (userCtx.roles.indexOf('_admin') === -1) { no('only an administrator changes this rule.'); }
    return;
  }
  only(newDoc, ['_id', '_rev', '_revisions', '_deleted', '_attachments', 'x']);
  if (typeof x !== 'object' || x === null) { no('a document in clear was refused.'); }
  if (/^e-[a-z2-7]{32}$/.test(id)) {
    only(x, ['v', 's', 'e', 'p', 'l', 'n', 'c']);
    if (x.v !== 1 || x.s !== 1) { no('its version is not known.'); }
    if (!is(x.e, /^[\w-]{22}$/) || !is(x.l, /^[\w-]{43}$/) || !is(x.n, /^[\w-]{32}$/) ||
        !is(x.c, /^[\w-]{1387,}$/) || !is(x.p, /^([1-9][0-9]*-[0-9a-f]{32})?$/)) {
      no('it is not in the form of a sealed document.');
    }
    var files = newDoc._attachments || {};
    for (var name in files) {
      if (!/^[a-z2-7]{26}$/.test(name)) { no('an attachment shows its name.'); }
      if (files[name].content_type !== 'application/octet-stream') { no('an attachment shows its type.'); }
    }
    return;
  }
  if (/^k-[a-z2-7]{52}$/.test(id)) {
    only(x, ['v', 't', 'm', 'g']);
    if (x.v !== 1 || x.t !== 'log' || !is(x.m, /^[\w-]+$/) || !is(x.g, /^[\w-]{86}$/)) {
      no('it is not in the form of a log entry.');
    }
    if (newDoc._deleted || newDoc._attachments) { no('a log entry is neither deleted nor added to.'); }
    return;
  }
  no('the id is of no kind that belongs here.');
}
