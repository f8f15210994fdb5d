// The stream's URL, and the id after which a program that was started again goes on.
export const [url, last] = process.argv.slice(2);

export const resumed = (url) => (last ? `${url}?after=${encodeURIComponent(last)}` : url);
