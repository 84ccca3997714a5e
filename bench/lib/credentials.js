// remote: { url, auth } -> one URL
export function withCredentials(remote) {
  if (!remote.auth) return remote.url;
  const u = new URL(remote.url);
  u.username = remote.auth.username;
  u.password = remote.auth.password;
  return u.href;
}
